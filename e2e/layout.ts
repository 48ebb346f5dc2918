import type { Page } from "@playwright/test";

/**
 * Texts and controls that extend beyond a box around them, or beyond the page, and cannot be scrolled
 * to. Text with an ellipsis is cut on purpose.
 */
export async function outsideOfTheirBox(page: Page): Promise<string[]> {
  return page.evaluate(() => {
    const found: string[] = [];
    const say = (what: string, by: number) => found.push(`${what.trim().slice(0, 40)}: ${Math.round(by)} px`);
    const beyond = document.documentElement.scrollWidth - window.innerWidth;
    if (beyond > 0) say("the page", beyond);

    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT | NodeFilter.SHOW_ELEMENT);
    for (let node = walker.nextNode(); node !== null; node = walker.nextNode()) {
      const isControl = node instanceof Element && node.matches("a, button, input, select, textarea, img, svg");
      if (!isControl && !(node instanceof Text && node.data.trim() !== "")) continue;
      const parent = node.parentElement as Element;
      const shown = node instanceof Element ? node : parent;
      if (!shown.checkVisibility({ visibilityProperty: true, opacityProperty: true }) || parent.closest("script, style, svg") !== null)
        continue;
      const range = document.createRange();
      range.selectNode(node);
      const rects = node instanceof Element ? [node.getBoundingClientRect()] : [...range.getClientRects()];
      const right = Math.max(...rects.map((rect) => rect.right));
      const left = Math.min(...rects.map((rect) => rect.left));
      const what = node instanceof Text ? node.data : `<${(node as Element).tagName.toLowerCase()}> ${parent.textContent}`;
      // The first box that it extends beyond decides; text in a scrollable box can be reached.
      let by = 0;
      for (let box: Element | null = shown; box !== null; box = box.parentElement) {
        const style = getComputedStyle(box);
        if (style.display === "inline" || style.display === "contents") continue;
        const { left: from, right: to, width, height } = box.getBoundingClientRect();
        const forReaders = width <= 1 || height <= 1 || style.clipPath !== "none";
        if (forReaders || style.overflowX === "auto" || style.overflowX === "scroll" || style.textOverflow === "ellipsis") {
          by = 0;
          break;
        }
        if (by === 0 && (right > to + 1 || left < from - 1)) by = Math.max(right - to, from - left);
        if (style.position === "fixed") break;
      }
      if (by > 0) say(what, by);
    }
    return found;
  });
}
