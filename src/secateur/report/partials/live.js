
(function () {
  "use strict";
  // Loads the page again while the work goes on; where one was, and what one chose, stays.
  var box = document.getElementById("progress"), every = Number(box.dataset.every), key = "live:" + location.pathname;
  function all(what) { return Array.prototype.slice.call(document.querySelectorAll(what)); }
  function name(element, index) { return element.id || element.getAttribute("name") || String(index); }
  function keep() {
    var kept = { y: window.scrollY, open: {}, chosen: {}, pressed: [] };
    all("details").forEach(function (each, index) { kept.open[name(each, index)] = each.open; });
    all("select").forEach(function (each, index) { kept.chosen[name(each, index)] = each.selectedIndex; });
    all("button[aria-pressed]").forEach(function (each) { kept.pressed.push(each.getAttribute("aria-pressed")); });
    try { sessionStorage.setItem(key, JSON.stringify(kept)); } catch (refused) { /* then it begins anew */ }
  }
  function restore() {
    var kept = null;
    try { kept = JSON.parse(sessionStorage.getItem(key)); } catch (refused) { /* none */ }
    if (!kept) { return; }
    all("details").forEach(function (each, index) {
      var was = kept.open[name(each, index)];
      if (was !== undefined) { each.open = was; }
    });
    all("select").forEach(function (each, index) {
      var was = kept.chosen[name(each, index)];
      if (was === undefined || was >= each.options.length || was + each.selectedIndex === 0) { return; }
      each.selectedIndex = was;  // it may be so already, put back by the browser, which tells nobody
      each.dispatchEvent(new Event("input", { bubbles: true }));
      each.dispatchEvent(new Event("change", { bubbles: true }));
    });
    var buttons = all("button[aria-pressed]");
    if (buttons.length === kept.pressed.length) {
      buttons.forEach(function (each, index) {
        if (kept.pressed[index] === "true" && each.getAttribute("aria-pressed") !== "true") { each.click(); }
      });
    }
    window.scrollTo(0, kept.y);
  }
  function busy() {
    var active = document.activeElement, picked = window.getSelection();
    return document.hidden || (active && active.tagName === "SELECT") || (picked && !picked.isCollapsed);
  }
  function age() {
    var seconds = Date.now() / 1000 - Number(box.dataset.written), minutes = Math.floor(seconds / 60);
    document.getElementById("age").textContent = minutes ? " Written " + minutes + " min ago." : "";
    if (minutes >= 10) {
      document.querySelector("#silent span").textContent = minutes + " minutes";
      document.getElementById("silent").hidden = false;
    }
  }
  window.addEventListener("load", restore);
  window.addEventListener("pagehide", keep);
  if (every) {
    age();
    window.setInterval(function () { if (!busy()) { location.reload(); } }, 1000 * every);
  }
})();
