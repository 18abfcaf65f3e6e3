"use strict";
const tip = document.getElementById("tip");
function showTip(target, x, y) {
  tip.textContent = target.dataset.tip;
  tip.hidden = false;
  const box = tip.getBoundingClientRect();
  tip.style.left = Math.max(8, Math.min(x + 12, innerWidth - box.width - 8)) + "px";
  tip.style.top = (y + box.height + 24 > innerHeight ? y - box.height - 10 : y + 16) + "px";
}
document.addEventListener("pointermove", event => {
  const target = event.target.closest("[data-tip]");
  if (target) showTip(target, event.clientX, event.clientY); else tip.hidden = true;
});
document.addEventListener("focusin", event => {
  const box = event.target.getBoundingClientRect();
  if (event.target.matches("[data-tip]")) showTip(event.target, box.right, box.bottom); else tip.hidden = true;
});

const table = document.getElementById("ranking"), heads = table ? [...table.tHead.rows[0].cells] : [];
function sortBy(column) {
  const head = heads[column], rows = [...table.tBodies[0].rows];
  // Numbers of a plan begin with the largest, names and places with the first.
  const first = head.classList.contains("number") ? "descending" : "ascending";
  const order = !head.hasAttribute("aria-sort") ? first : head.getAttribute("aria-sort") === "ascending" ? "descending" : "ascending";
  heads.forEach(other => other.removeAttribute("aria-sort"));
  head.setAttribute("aria-sort", order);
  const key = row => row.cells[column].dataset.key, sign = order === "ascending" ? 1 : -1;
  const both = (a, b) => isNaN(key(a)) ? (key(a) > key(b)) - (key(a) < key(b)) : key(a) - key(b);
  rows.sort((a, b) => sign * both(a, b)).forEach(row => table.tBodies[0].append(row));
}
heads.forEach((head, column) => head.querySelector("button").addEventListener("click", () => sortBy(column)));

function select(element) {
  const range = document.createRange();
  range.selectNodeContents(element);
  getSelection().removeAllRanges();
  getSelection().addRange(range);
}
document.querySelectorAll(".command").forEach(figure => {
  const button = figure.querySelector("button"), code = figure.querySelector("code");
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(code.textContent);
    } catch {  // a page from a disk may not write to the clipboard in some browsers
      select(code);
      document.execCommand("copy");
    }
    button.textContent = "copied";
    setTimeout(() => { button.textContent = "copy"; }, 1500);
  });
});
