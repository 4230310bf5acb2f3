"use strict";
(() => {
  const root = document.documentElement;
  root.classList.add("js");
  const all = (selector, from = document) => Array.from(from.querySelectorAll(selector));

  const theme = document.getElementById("theme");
  const dark = () => (root.dataset.theme || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";
  const told = () => { theme.setAttribute("aria-pressed", String(dark())); theme.textContent = dark() ? "Light colours" : "Dark colours"; };
  theme.addEventListener("click", () => { root.dataset.theme = dark() ? "light" : "dark"; told(); });
  told();

  document.getElementById("save").addEventListener("click", () => {
    const blob = new Blob([document.getElementById("numbers").textContent], { type: "application/json" });
    const link = document.createElement("a");
    link.href = URL.createObjectURL(blob);
    link.download = "report.json";
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  });

  for (const slider of all("[data-slider]")) {
    const input = slider.querySelector("input");
    const output = slider.querySelector("output");
    const frames = all(".frames figure", slider);
    const show = () => {
      frames.forEach((frame, place) => frame.classList.toggle("current", place === Number(input.value)));
      const text = frames[Number(input.value)].dataset.label;
      output.textContent = text;
      input.setAttribute("aria-valuetext", text);
    };
    input.addEventListener("input", show);
    show();
  }

  for (const table of all("table.sortable")) {
    const heads = all("thead th", table);
    const body = table.tBodies[0];
    heads.forEach((head, column) => {
      const button = head.querySelector("button");
      if (!button) return;
      button.addEventListener("click", () => {
        const down = head.getAttribute("aria-sort") === "ascending";
        heads.forEach((other) => other.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", down ? "descending" : "ascending");
        const key = (row) => row.cells[column].dataset.v ?? row.cells[column].textContent.trim();
        const rows = Array.from(body.rows);
        const numeric = rows.every((row) => key(row) === "" || !Number.isNaN(Number(key(row))));
        rows.sort((a, b) => {
          const [x, y] = [key(a), key(b)];
          if (x === "" || y === "") return (x === "") - (y === "");
          const order = numeric ? Number(x) - Number(y) : x.localeCompare(y, undefined, { numeric: true });
          return down ? -order : order;
        });
        body.append(...rows);
      });
    });
  }

  for (const box of all(".chartbox")) {
    const plot = box.querySelector(".plot");
    const tip = document.createElement("div");
    tip.className = "tip hidden";
    tip.setAttribute("aria-live", "polite");
    box.append(tip);
    const marks = () => all("svg .marks [aria-label]", plot).filter((mark) => !mark.closest(".hidden"));
    let current = null;
    const leave = () => { tip.classList.add("hidden"); if (current) current.classList.remove("hit"); current = null; };
    const point = (mark) => {
      leave();
      current = mark;
      mark.classList.add("hit");
      tip.textContent = mark.getAttribute("aria-label");
      tip.classList.remove("hidden");
      const [outer, inner] = [box.getBoundingClientRect(), mark.getBoundingClientRect()];
      const left = Math.min(Math.max(0, inner.left - outer.left), Math.max(0, outer.width - tip.offsetWidth - 4));
      tip.style.left = `${left}px`;
      tip.style.top = `${Math.max(0, inner.top - outer.top - tip.offsetHeight - 6)}px`;
    };
    plot.addEventListener("pointerover", (event) => { const mark = event.target.closest("[aria-label]"); if (mark && mark.closest(".marks")) point(mark); });
    plot.addEventListener("pointerout", leave);
    plot.addEventListener("blur", leave);
    plot.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (event.key === "Escape") leave();
      if (!step) return;
      event.preventDefault();
      const list = marks();
      if (!list.length) return;
      const place = list.indexOf(current);
      point(list[(place + step + list.length + (place < 0 && step < 0 ? 1 : 0)) % list.length]);
    });
    for (const input of all(".legend input", box)) {
      input.addEventListener("change", () => { leave(); all(`svg .marks.${input.value}`, plot).forEach((group) => group.classList.toggle("hidden", !input.checked)); });
    }
  }
})();
