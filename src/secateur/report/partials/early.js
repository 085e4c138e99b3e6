(function () {
  "use strict";
  var root = document.documentElement;
  root.dataset.script = "on";
  try { var theme = sessionStorage.getItem("secateur-theme"); } catch (error) { return; }
  if (theme) root.dataset.theme = theme;
})();
