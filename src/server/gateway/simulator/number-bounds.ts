/** The least and greatest allowed value; exclusive bounds are moved inward by `unit` or by less if they are close. */
export function bounds(schema: Record<string, unknown>, unit: number): [number, number] {
  const number = (key: string) => (typeof schema[key] === "number" ? schema[key] : undefined);
  let low = number("minimum") ?? -Infinity;
  let high = number("maximum") ?? Infinity;
  const above = schema.exclusiveMinimum === true ? low : (number("exclusiveMinimum") ?? -Infinity);
  const below = schema.exclusiveMaximum === true ? high : (number("exclusiveMaximum") ?? Infinity);
  const room = Math.min(high, below) - Math.max(low, above);
  const inward = Math.min(unit, Number.isFinite(room) ? room / 4 : unit);
  if (above >= low && above > -Infinity) low = above + inward;
  if (below <= high && below < Infinity) high = below - inward;
  return [low, high];
}

/** The least multiple of `unit` that is not below `value`. */
export function ceilTo(value: number, unit: number): number {
  // Dividing by a decimal step such as 0.1 has a rounding error, which 12 significant digits remove.
  const steps = Math.ceil(Number((value / unit).toPrecision(12)));
  return Number((steps * unit).toPrecision(12));
}

/** The least whole multiple of a decimal step: 0.5 gives 1, 2.5 gives 5. */
export function leastWhole(step: number): number {
  for (let factor = 1; factor <= 1000; factor += 1) {
    const value = Number((step * factor).toPrecision(12));
    if (Number.isInteger(value)) return value;
  }
  return 1;
}
