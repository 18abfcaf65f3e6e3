// What a reader sees of a page: every piece of text with its place, its contrast and its card.
() => {
  const color = text => { const [r, g, b, a = 1] = text.match(/[\d.]+/g).map(Number); return {r, g, b, a}; };
  const luminance = ({r, g, b}) => [r, g, b].map(c => c / 255).map(c => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
    .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
  const over = (top, under) => ({...Object.fromEntries(["r", "g", "b"].map(c => [c, top[c] * top.a + under[c] * (1 - top.a)])), a: 1});
  const back = element => {
    const layers = [];
    for (let e = element; e; e = e.parentElement) layers.push(color(getComputedStyle(e).backgroundColor));
    return layers.reduceRight((under, layer) => over(layer, under), {r: 255, g: 255, b: 255, a: 1});
  };
  const contrast = (a, b) => { const [low, high] = [luminance(a), luminance(b)].sort((x, y) => x - y); return (high + 0.05) / (low + 0.05); };
  const texts = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const node = walker.currentNode, element = node.parentElement, words = node.textContent.trim();
    if (!words || element.closest("script, style, [hidden]") || !element.checkVisibility()) continue;
    const range = document.createRange();
    range.selectNodeContents(node);
    const style = getComputedStyle(element), isSvg = element instanceof SVGElement;
    const card = element.closest(".card")?.getBoundingClientRect();
    for (const box of range.getClientRects()) {
      if (box.width < 1) continue;
      texts.push({
        words, left: box.left, right: box.right, top: box.top + scrollY, bottom: box.bottom + scrollY,
        size: parseFloat(style.fontSize) * (isSvg ? element.getCTM().a : 1),
        contrast: contrast(color(isSvg ? style.fill : style.color), back(element)),
        card: card ? [card.left, card.right] : null,
      });
    }
  }
  const marks = [...document.querySelectorAll(".curve, .swatch, .point:not(.beaten)")].filter(e => e.checkVisibility()).map(e => contrast(color(getComputedStyle(e).color), back(e.closest(".card") ?? document.body)));
  return {texts, marks, width: innerWidth, scrolls: document.documentElement.scrollWidth};
}
