// The page of a benchmark: one set is shown at a time, with a group of measures, and its table can be sorted.
(() => {
  const places = [...document.querySelectorAll(".place")];
  const form = document.getElementById("choice");
  if (!form) return; // a gate failed: there are no figures

  function choose() {
    const [place, group] = ["place", "group"].map((id) => document.getElementById(id).value);
    for (const one of places) {
      one.hidden = one.dataset.place !== place;
      if (!one.hidden) columns(one.querySelector("table"), group);
    }
  }

  function columns(table, group) {
    const heads = [...table.tHead.rows[0].cells].slice(1);
    const fits = (head) => group === "all" || (group === "main" ? "main" in head.dataset : head.dataset.group === group);
    const some = heads.some(fits); // a set may have none of a group
    heads.forEach((head, n) => {
      for (const row of table.rows) row.cells[n + 1].hidden = some ? !fits(head) : false;
    });
    for (const row of table.tBodies[0].rows) row.hidden = [...row.cells].slice(1).every((cell) => cell.hidden || !("value" in cell.dataset));
  }

  function sort(head) {
    const table = head.closest("table");
    const body = table.tBodies[0];
    const was = head.getAttribute("aria-sort");
    const first = head.dataset.better === "lower" || head.dataset.sort === "row" ? "ascending" : "descending";
    const now = was === null ? first : was === "ascending" ? "descending" : "ascending";
    const value = (row) => {
      if (head.dataset.sort === "row") return Number(row.dataset.row);
      const cell = row.cells[head.cellIndex];
      return "value" in cell.dataset ? Number(cell.dataset.value) : NaN;
    };
    const sign = now === "ascending" ? 1 : -1;
    const order = [...body.rows].sort((a, b) => {
      const [x, y] = [value(a), value(b)];
      if (Number.isNaN(x) || Number.isNaN(y)) return Number.isNaN(x) - Number.isNaN(y); // what was not measured comes last
      return sign * (x - y) || a.dataset.row - b.dataset.row;
    });
    body.append(...order);
    for (const one of table.tHead.rows[0].cells) one.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", now);
  }

  for (const place of places) {
    [...place.querySelectorAll("tbody tr")].forEach((row, n) => (row.dataset.row = n));
    for (const head of place.querySelectorAll("[data-sort]")) head.querySelector("button").addEventListener("click", () => sort(head));
  }
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("input", choose);
  form.reset();
  choose();
})();
