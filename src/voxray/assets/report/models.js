"use strict";
// The page about two models: its language can be switched, and it can be printed.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const has = (object, key) => Object.prototype.hasOwnProperty.call(object, key);

  function show(language) {
    const table = data.strings[language];
    document.documentElement.lang = language === "zh" ? "zh-Hans" : "en";
    for (const node of document.querySelectorAll("[data-t]")) {
      const values = JSON.parse(node.dataset.values || "{}");
      const text = has(table, node.dataset.t) ? table[node.dataset.t] : node.textContent;
      node.textContent = text.replace(/\{(\w+)\}/g, (whole, name) => (has(values, name) ? String(values[name]) : whole));
    }
    for (const node of document.querySelectorAll("[data-t-alt]")) node.setAttribute("alt", table[node.getAttribute("data-t-alt")]);
    for (const node of document.querySelectorAll("[data-en]")) node.textContent = node.getAttribute(`data-${language}`);
    for (const button of document.querySelectorAll("[data-language]")) {
      button.setAttribute("aria-pressed", String(button.dataset.language === language));
    }
  }

  for (const button of document.querySelectorAll("[data-language]")) {
    button.addEventListener("click", () => show(button.dataset.language));
  }
  document.getElementById("print").addEventListener("click", () => print());
})();
