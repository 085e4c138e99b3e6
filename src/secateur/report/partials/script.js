(function () {
  "use strict";
  var root = document.documentElement;
  function each(selector, action) { document.querySelectorAll(selector).forEach(action); }

  function show(chart, view) {
    document.querySelectorAll("#" + chart + " > .view").forEach(function (one, index) {
      one.toggleAttribute("data-shown", index === view);
    });
  }
  each(".segments button", function (button) {
    button.addEventListener("click", function () {
      button.parentNode.querySelectorAll("button").forEach(function (other) {
        other.setAttribute("aria-pressed", String(other === button));
      });
      show(button.dataset.chart, Number(button.dataset.view));
    });
  });
  each("select[data-chart]", function (select) {
    function chosen() { show(select.dataset.chart, Number(select.value)); }
    select.addEventListener("change", chosen);
    chosen();  // a browser may keep the choice over a reload
  });

  function copy(text) {
    var area = document.createElement("textarea");  // navigator.clipboard is not there for files
    area.value = text;
    area.style.position = "fixed";
    document.body.append(area);
    area.select();
    var done = document.execCommand("copy");
    area.remove();
    return done;
  }
  each("button[data-copy]", function (button) {
    button.addEventListener("click", function () {
      var code = document.getElementById(button.dataset.copy);
      var done = copy(code.textContent);
      if (!done) window.getSelection().selectAllChildren(code);
      button.textContent = done ? "Copied" : "Selected";
      button.focus();
      window.setTimeout(function () { button.textContent = "Copy"; }, 2000);
    });
  });

  var dark = window.matchMedia("(prefers-color-scheme: dark)");
  each("#theme", function (button) {
    function shown() { return root.dataset.theme || (dark.matches ? "dark" : "light"); }
    function name() { button.textContent = shown() === "dark" ? "Light" : "Dark"; }
    button.addEventListener("click", function () {
      root.dataset.theme = shown() === "dark" ? "light" : "dark";
      try { sessionStorage.setItem("secateur-theme", root.dataset.theme); } catch (error) { /* not kept */ }
      name();
    });
    dark.addEventListener("change", name);
    name();
  });

  function order(table, column, up) {
    var body = table.tBodies[0];
    var rows = Array.from(body.rows);
    function key(row) { return row.cells[column].dataset.value; }
    rows.sort(function (one, other) {
      var a = key(one), b = key(other);
      if (a === b) return rows.indexOf(one) - rows.indexOf(other);
      if (a === "" || b === "") return a === "" ? 1 : -1;  // what is not known comes last either way
      var less = isNaN(a) || isNaN(b) ? a.localeCompare(b) : a - b;
      return up ? less : -less;
    });
    body.append.apply(body, rows);
  }
  var sorted = "secateur-sorted " + location.pathname;  // a page that is watched loads itself again
  each("table.sortable .sort", function (button) {
    button.addEventListener("click", function () {
      var head = button.closest("th"), table = button.closest("table");
      var up = head.getAttribute("aria-sort") !== "ascending";
      table.querySelectorAll("[aria-sort]").forEach(function (other) { other.removeAttribute("aria-sort"); });
      head.setAttribute("aria-sort", up ? "ascending" : "descending");
      order(table, Number(button.dataset.column), up);
      try { sessionStorage.setItem(sorted, button.dataset.column + (up ? " up" : " down")); } catch (error) { /* not kept */ }
    });
  });
  try { var kept = (sessionStorage.getItem(sorted) || "").split(" "); } catch (error) { kept = []; }
  if (kept.length === 2) each("table.sortable .sort[data-column='" + Number(kept[0]) + "']", function (button) {
    button.click();
    if (kept[1] === "down") button.click();
  });
})();
