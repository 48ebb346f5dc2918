/**
 * What rooms use to send SQL to either database: a named statement and its parameters. Postgres
 * prepares a named statement once per connection, which is most of what a short statement costs.
 */
export type Statement = {
  readonly name: string;
  readonly text: string;
  /**
   * Set when all columns are arrays whose elements need no quoting. The driver may then parse them with
   * `readPlainArray`, which takes a tenth of the time of pg's own parser of arrays.
   */
  readonly plainArrays?: true;
};
export type Row = Record<string, unknown>;

export interface Sql {
  query(statement: Statement, parameters: readonly unknown[]): Promise<Row[]>;
}

/** BIGINT comes as bigint, number or string, depending on the driver. */
export function toBigInt(value: unknown): bigint {
  if (typeof value === "bigint") return value;
  if (typeof value === "number" || typeof value === "string") return BigInt(value);
  throw new TypeError(`not an integer from the database: ${typeof value}`);
}

export function toBigIntOrNull(value: unknown): bigint | null {
  return value === null || value === undefined ? null : toBigInt(value);
}

/** An array literal of values that need no quoting: numbers, uuids, hex bytes. */
export function plainArray(values: readonly (string | number | bigint | null)[]): string {
  return `{${values.map((value) => (value === null ? "NULL" : String(value))).join(",")}}`;
}

/** The elements of a literal of `plainArray`, as text; null for NULL. */
export function readPlainArray(literal: string): (string | null)[] {
  if (literal === "{}") return [];
  const values: (string | null)[] = literal.slice(1, -1).split(",");
  for (let index = values.indexOf("NULL"); index !== -1; index = values.indexOf("NULL", index)) values[index] = null;
  return values;
}

/** An array literal of any texts. Texts must be free of NUL, which Postgres can't store. */
export function textArray(values: readonly (string | null)[]): string {
  return `{${values.map((value) => (value === null ? "NULL" : `"${value.replace(/["\\]/g, "\\$&")}"`)).join(",")}}`;
}

export function bytesArray(values: readonly Uint8Array[]): string {
  return `{${values.map((value) => `"\\\\x${Buffer.from(value.buffer, value.byteOffset, value.byteLength).toString("hex")}"`).join(",")}}`;
}
