/**
 * CSV as in RFC 4180, for programs and spreadsheets. The file begins with a byte-order mark,
 * without which Excel reads UTF-8 in the system's own encoding. Every text is quoted; numbers
 * are not, so that spreadsheets read them as numbers.
 */

/** Numbers are written in full; null is an empty cell. */
export type Cell = string | number | bigint | boolean | null;

const BYTE_ORDER_MARK = "\ufeff";

/** The first line of a file: the byte-order mark and the names of the columns. */
export function csvHead(columns: readonly string[]): string {
  return BYTE_ORDER_MARK + csvLine(columns);
}

/** One line, with cells in the order of the columns. */
export function csvLine(cells: readonly Cell[]): string {
  return `${cells.map(written).join(",")}\r\n`;
}

function written(cell: Cell): string {
  if (cell === null) return "";
  if (typeof cell !== "string") return String(cell);
  return `"${escapeFormulas(cell).replaceAll('"', '""')}"`;
}

/**
 * The text with an apostrophe before each sign that a spreadsheet could read as the beginning of
 * a formula (CSV injection). Quotes do not prevent that: a quoted cell is evaluated too. In some
 * locales spreadsheets split lines at semicolons or tabs and keep quotes within a cell, so a formula
 * may also begin after such a separator. Some spreadsheets read full-width signs as the ASCII ones.
 */
function escapeFormulas(text: string): string {
  return text.replace(FORMULA, "$<before>'$<sign>").replace(/^(?=[\t\r\n])/, "'");
}

const FORMULA = /(?<before>(?:^|[,;|\t\r\n])[\s"']*)(?<sign>[=+\-@＝＋－＠])/gu;
