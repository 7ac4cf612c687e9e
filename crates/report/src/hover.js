// Shows the values of all curves of a chart near the pointer. Without it nothing is missing but this.
"use strict";
{
  const box = document.getElementById("hover");
  const parse = text => (text ? text.split(" ").map(pair => pair.split(",").map(Number)) : []);
  const short = value => Number(value.toPrecision(4)).toLocaleString("en", { maximumSignificantDigits: 4 });
  const nearest = (points, x) => {
    let best = 0;
    points.forEach((point, index) => { if (Math.abs(point[0] - x) < Math.abs(points[best][0] - x)) best = index; });
    return best;
  };

  for (const svg of document.querySelectorAll(".charts svg")) {
    const curves = [...svg.querySelectorAll(".series")].map(group => ({
      name: group.dataset.name,
      colour: getComputedStyle(group).getPropertyValue("--c"),
      values: parse(group.dataset.points),
      places: parse(group.querySelector(".curve").getAttribute("points")),
    })).filter(curve => curve.values.length > 0);
    if (curves.length === 0) continue;
    const cursor = svg.appendChild(document.createElementNS("http://www.w3.org/2000/svg", "line"));
    cursor.setAttribute("class", "axis");
    cursor.setAttribute("visibility", "hidden");
    const axis = svg.querySelector(".axis");
    cursor.setAttribute("y2", axis.getAttribute("y1"));
    cursor.setAttribute("y1", svg.querySelectorAll(".grid")[svg.querySelectorAll(".grid").length - 1].getAttribute("y1"));

    svg.addEventListener("pointermove", event => {
      const x = new DOMPoint(event.clientX, event.clientY).matrixTransform(svg.getScreenCTM().inverse()).x;
      const [left, right] = [Number(axis.getAttribute("x1")), Number(axis.getAttribute("x2"))];
      const inside = x >= left - 6 && x <= right + 6;
      cursor.setAttribute("visibility", inside ? "visible" : "hidden");
      box.style.display = inside ? "block" : "none";
      if (!inside) return;
      cursor.setAttribute("x1", Math.min(Math.max(x, left), right));
      cursor.setAttribute("x2", cursor.getAttribute("x1"));
      box.replaceChildren(...curves.map(curve => {
        const row = document.createElement("div");
        const swatch = row.appendChild(document.createElement("span"));
        swatch.className = "swatch";
        swatch.style.setProperty("--c", curve.colour);
        const [at, value] = curve.values[nearest(curve.places, x)];
        row.append(`${curve.name}: ${short(value)} at ${short(at)}`);
        return row;
      }));
      const wide = box.offsetWidth + 24;
      const flip = event.clientX + wide > document.documentElement.clientWidth;
      box.style.left = `${event.pageX + (flip ? -wide + 8 : 16)}px`;
      box.style.top = `${event.pageY + 16}px`;
    });
    svg.addEventListener("pointerleave", () => {
      cursor.setAttribute("visibility", "hidden");
      box.style.display = "none";
    });
  }
}
