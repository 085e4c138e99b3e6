(function () {
  "use strict";
  var specs = JSON.parse(document.getElementById("specs").textContent);
  var narrow = window.matchMedia("(max-width: 640px)").matches;
  var config = {
    displaylogo: false, responsive: true, displayModeBar: narrow ? false : "hover",
    showSendToCloud: false, plotlyServerURL: "",  // plotly.js 4 shows a button that uploads the data, unless told not to
    modeBarButtons: [["toImage"], ["zoom2d", "pan2d", "resetScale2d"]]
  };
  function draw(id, view) {
    var spec = structuredClone(specs[id][view]);
    if (narrow) {
      spec.layout.dragmode = false;
      spec.layout.font.size = 12;
      spec.layout.margin.l = 44;
      spec.layout.margin.r = 10;
      var names = new Set(spec.data.filter(function (trace) { return trace.name && trace.showlegend !== false; }).map(function (trace) { return trace.name; }));
      if (spec.layout.showlegend) spec.layout.height += 19 * Math.max(0, names.size - 6);  // one name a line
      spec.data.forEach(function (trace) { if (trace.type === "bar" && trace.x.length > 7) trace.textangle = -90; });
    }
    var chart = document.getElementById(id);
    chart.style.minHeight = spec.layout.height + "px";
    return Plotly.react(chart, spec.data, spec.layout, config);
  }
  document.querySelectorAll(".segments button").forEach(function (button) {
    button.addEventListener("click", function () {
      button.parentNode.querySelectorAll("button").forEach(function (other) {
        other.setAttribute("aria-pressed", String(other === button));
      });
      draw(button.dataset.chart, Number(button.dataset.view));
    });
  });
  document.querySelectorAll("select[data-chart]").forEach(function (select) {
    select.addEventListener("change", function () { draw(select.dataset.chart, Number(select.value)); });
  });
  document.getElementById("copy").addEventListener("click", function (event) {
    var button = event.currentTarget;
    var range = document.createRange();
    range.selectNodeContents(document.getElementById("command"));
    window.getSelection().removeAllRanges();
    window.getSelection().addRange(range);
    button.textContent = document.execCommand("copy") ? "Copied" : "Selected";
    window.setTimeout(function () { button.textContent = "Copy"; }, 2000);
  });
  function fit(width) {
    Object.keys(specs).forEach(function (id) { Plotly.relayout(id, width ? { width: width, autosize: false } : { width: null, autosize: true }); });
  }
  window.addEventListener("beforeprint", function () { fit(640); });
  window.addEventListener("afterprint", function () { fit(null); });
  Promise.all(Object.keys(specs).map(function (id) { return draw(id, 0); })).then(function () {
    document.documentElement.dataset.charts = "drawn";
  });
})();
