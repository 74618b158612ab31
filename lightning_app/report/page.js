"use strict";
// Sorting: a click on a column's title; numbers by value, empty cells last whichever the direction.
for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0];
  const original = [...body.rows];
  const heads = [...table.tHead.rows[0].cells];
  const key = (row, column) => row.cells[column].dataset.key;
  heads.forEach((head, column) => head.firstElementChild.addEventListener("click", () => {
    const next = { none: "ascending", ascending: "descending", descending: "none" }[head.getAttribute("aria-sort")];
    heads.forEach((other) => other.setAttribute("aria-sort", "none"));
    head.setAttribute("aria-sort", next);
    const numeric = original.every((row) => key(row, column) === "" || Number.isFinite(Number(key(row, column))));
    const sign = next === "descending" ? -1 : 1;
    const order = next === "none" ? original : [...original].sort((a, b) => {
      const [x, y] = [key(a, column), key(b, column)];
      if (x === "" || y === "") return (x === "") - (y === "");
      return sign * (numeric ? Number(x) - Number(y) : x.localeCompare(y));
    });
    body.append(...order);
    announce(next === "none" ? "original order" : `sorted by ${head.textContent}, ${next}`);
  }));
}
// What the first table hides goes from the pictures: a drawing's marks lie in groups that carry the place of their owner.
let kept = null;  // the methods, and methods with their data sets, of the rows that it shows
const gone = (owner) => kept !== null && !kept.has(owner);
const owned = [...document.querySelectorAll("[data-owners]")].map((part) => {
  const image = part.querySelector(":scope > img");
  return { part, image, whole: image && image.getAttribute("src"), owners: part.dataset.owners.split("\n") };
});
function follow(rows) {
  kept = new Set(rows.flatMap(({ cells: [method, data] }) => [method.dataset.key, `${method.dataset.key}\t${data.dataset.key}`]));
  for (const { part, image, whole, owners } of owned) {
    const marks = owners.flatMap((owner, place) => gone(owner) ? [`owner-${place}`] : []);
    part.hidden = marks.length === owners.length;
    if (!image) continue;
    const left = owners.filter((owner, place) => gone(owner) && !whole.includes(`'owner-${place}-`));
    const told = new Set(left.map((owner) => owner.split("\t")[0])).size;
    const note = part.querySelector("figcaption p") || part.querySelector("figcaption").appendChild(document.createElement("p"));
    note.textContent = told ? `Shows ${told} hidden method${told > 1 ? "s" : ""}.` : "";
    const rule = marks.map((mark) => `[id|=${mark}]`).join();
    const source = rule ? whole.replace("</svg>", `<style>${rule}{display:none}</style></svg>`) : whole;
    if (image.getAttribute("src") !== source) image.setAttribute("src", source);
  }
  document.dispatchEvent(new Event("kept"));
}
// Filtering: all words must occur in a row; a choice of data set narrows further.
for (const tools of document.querySelectorAll(".tools")) {
  const table = document.getElementById(tools.dataset.table);
  const text = tools.querySelector("input");
  const choice = tools.querySelector("select");
  const column = choice ? Number(choice.dataset.column) : -1;
  const filter = () => {
    const words = text.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const row of table.tBodies[0].rows) {
      const content = row.textContent.toLowerCase();
      row.hidden = !(words.every((word) => content.includes(word))
        && (!choice || !choice.value || row.cells[column].dataset.key === choice.value));
      shown += !row.hidden;
    }
    const all = table.tBodies[0].rows.length, first = table.id === "summary";
    const pictures = first ? ", in the pictures too" : "; pictures follow the first table";
    tools.querySelector("output").textContent = `${shown} of ${all} rows${shown < all ? pictures : ""}`;
    if (first) follow([...table.tBodies[0].rows].filter((row) => !row.hidden));
  };
  text.addEventListener("input", filter);
  if (choice) choice.addEventListener("change", filter);
  filter();
}
// Columns: those beyond the first few are hidden on a narrow screen; a reader chooses.
for (const tools of document.querySelectorAll(".tools[data-table]")) {
  const table = document.getElementById(tools.dataset.table);
  const heads = [...table.tHead.rows[0].cells];
  const show = (column, shown) => {
    for (const row of table.rows) row.cells[column].classList.toggle("folded", !shown);
  };
  const box = document.createElement("details");
  box.className = "columns";
  box.append(Object.assign(document.createElement("summary"), { textContent: "Columns" }));
  const room = Math.max(4, Math.floor(document.documentElement.clientWidth / 160));
  heads.forEach((head, column) => {
    const shown = column < room;
    const input = Object.assign(document.createElement("input"), { type: "checkbox", checked: shown });
    input.addEventListener("change", () => show(column, input.checked));
    const label = document.createElement("label");
    label.append(input, head.textContent);
    box.append(label);
    show(column, shown);
  });
  tools.append(box);
}
// Slices of a volume: one tall strip of pictures behind a window as high as one of them, at any width.
for (const browser of document.querySelectorAll(".slices")) {
  const slider = browser.querySelector("input");
  const picture = browser.querySelector("img");
  const show = () => {
    picture.style.transform = `translateY(${-100 * Number(slider.value) / (Number(slider.max) + 1)}%)`;
    browser.querySelector("output").textContent = `slice ${Number(slider.value) + 1} of ${Number(slider.max) + 1}`;
  };
  slider.addEventListener("input", show);
  show();
}
function announce(message) {
  document.getElementById("status").textContent = message;
}
// A printed page holds what the screen holds: open what is folded.
window.addEventListener("beforeprint", () => document.querySelectorAll("details.print").forEach((item) => { item.open = true; }));
