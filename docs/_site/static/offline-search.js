/* Search from disk: browsers let no script read pages beside it, which is where Sphinx's search takes its excerpts
   from. They stand in pages.js, which is a script, and so is read; over http this file does nothing. */
if (location.protocol === "file:" && /\/search\.html$/.test(location.pathname)) {
  const pages = new Promise((resolve) => {
    const script = document.createElement("script");
    script.src = document.documentElement.dataset.content_root + "_static/pages.js";
    script.onload = () => resolve(window.SECATEUR_PAGES);
    script.onerror = () => resolve({});
    document.head.append(script);
  });
  const root = document.documentElement.dataset.content_root;
  window.fetch = (address) => {
    const name = String(address).slice(root.length).replace(/\.html$/, "");
    return pages.then((found) => ({ text: async () => found[name] || "" }));
  };
}
