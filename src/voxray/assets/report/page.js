"use strict";
// What every page does: it shows its texts in the language that is chosen, and prints.
const page = (() => {
  const read = (id) => JSON.parse(document.getElementById(id).textContent);
  const data = read("data");
  const has = (object, key) => Object.prototype.hasOwnProperty.call(object, key);
  const followers = []; // what else there is to do when the language changes
  let language = data.language;

  function t(key, values = {}, otherwise = key) {
    const table = data.strings[language];
    const text = has(table, key) ? table[key] : otherwise;
    return text.replace(/\{(\w+)\}/g, (whole, name) => (has(values, name) ? String(values[name]) : whole));
  }

  function translate() {
    document.documentElement.lang = language === "zh" ? "zh-Hans" : "en";
    for (const node of document.querySelectorAll("[data-t]")) {
      node.textContent = t(node.dataset.t, JSON.parse(node.dataset.values || "{}"), node.textContent);
    }
    for (const name of ["alt", "aria-label", "placeholder", "title"]) {
      for (const node of document.querySelectorAll(`[data-t-${name}]`)) node.setAttribute(name, t(node.getAttribute(`data-t-${name}`)));
    }
    for (const node of document.querySelectorAll("[data-en]")) node.textContent = node.getAttribute(`data-${language}`);
    for (const button of document.querySelectorAll("[data-language]")) {
      button.setAttribute("aria-pressed", String(button.dataset.language === language));
    }
    for (const follow of followers) follow();
  }

  for (const button of document.querySelectorAll("[data-language]")) {
    button.addEventListener("click", () => {
      language = button.dataset.language;
      translate();
    });
  }
  document.getElementById("print").addEventListener("click", () => print());
  return { data, has, read, t, language: () => language, translated: (follow) => followers.push(follow) };
})();
