"use strict";
(() => {
  const form = document.getElementById("filters");
  const count = document.getElementById("count");
  const groups = [...document.querySelectorAll(".group")].map((group) => ({
    element: group,
    name: group.dataset.group,
    requirements: [...group.querySelectorAll(".requirement")].map((requirement) => ({
      element: requirement,
      level: requirement.dataset.level,
      open: requirement.open,
      cases: [...requirement.querySelectorAll(".case")].map((one) => ({ element: one, verdict: one.dataset.verdict })),
    })),
  }));
  const total = groups.flatMap((group) => group.requirements).reduce((sum, one) => sum + one.cases.length, 0);

  // What a case says, with its requirement's name; read only once somebody looks for it.
  const words = (one, requirement) =>
    (one.words ??= `${requirement.element.querySelector("summary").textContent} ${one.element.textContent}`.toLowerCase());

  function filter() {
    const data = new FormData(form);
    const verdicts = new Set(data.getAll("verdict"));
    const [group, level] = [data.get("group"), data.get("level")];
    const text = data.get("text").trim().toLowerCase();
    const some = Boolean(group || level || text) || form.querySelector("[name=verdict]:not(:checked)") !== null;
    let shown = 0;
    for (const one of groups) {
      let inGroup = 0;
      for (const requirement of one.requirements) {
        let here = 0;
        const fits = (!group || group === one.name) && (!level || level === requirement.level);
        for (const each of requirement.cases) {
          const good = fits && verdicts.has(each.verdict) && (!text || words(each, requirement).includes(text));
          each.element.hidden = !good;
          here += good;
        }
        requirement.element.hidden = !here;
        const open = some ? here > 0 : requirement.open;
        if (requirement.element.open !== open) requirement.element.open = open;
        inGroup += here;
      }
      one.element.hidden = !inGroup;
      shown += inGroup;
    }
    count.textContent = some ? `${shown} of ${total} cases` : `${total} cases`;
  }

  // A link to something opens it and everything around it, whatever hides it.
  function reveal() {
    const wanted = location.hash.slice(1);
    let target = document.getElementById(wanted);
    try {
      target ??= document.getElementById(decodeURIComponent(wanted)) ?? document.getElementById(encodeURI(decodeURIComponent(wanted)));
    } catch {
      // Not percent-encoded: it is nobody's.
    }
    if (!target) return;
    for (let one = target; one; one = one.parentElement) {
      one.hidden = false;
      if (one instanceof HTMLDetailsElement) one.open = true;
    }
    target.scrollIntoView();
    (target.querySelector(":scope > summary") ?? target).focus({ preventScroll: true });
  }

  form.hidden = false;
  // Before anybody listens: what a reset puts off until later would close again what the address has opened.
  form.reset();
  form.addEventListener("input", filter);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("reset", () => setTimeout(filter));
  addEventListener("hashchange", reveal);
  document.addEventListener("click", (event) => {
    // The address does not change where a link is followed twice, but what it shows may have been closed.
    const link = event.target.closest?.("a[href^='#']");
    if (link && link.hash === location.hash) setTimeout(reveal);
  });
  // On paper nothing can be opened: requirements are, and so is what was open anyway.
  addEventListener("beforeprint", () => {
    for (const one of document.querySelectorAll(".requirement")) one.open = true;
  });
  filter();
  reveal();
})();
