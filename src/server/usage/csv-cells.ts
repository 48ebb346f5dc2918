/**
 * CSV as RFC 4180 has it, for programs and for spreadsheets. The file begins with a
 * byte-order mark, without which Excel reads UTF-8 in the system's own encoding.
 * Every text is quoted; numbers are not, so that they stay numbers.
 */

/** A number is whole or exact; null is an empty cell. */
export type Cell = string | number | bigint | boolean | null;

const BYTE_ORDER_MARK = "\ufeff";

/** The first line of a file: its columns. */
export function csvHead(columns: readonly string[]): string {
  return BYTE_ORDER_MARK + csvLine(columns);
}

/** One line, in the columns' order. */
export function csvLine(cells: readonly Cell[]): string {
  return `${cells.map(written).join(",")}\r\n`;
}

function written(cell: Cell): string {
  if (cell === null) return "";
  if (typeof cell !== "string") return String(cell);
  return `"${harmless(cell).replaceAll('"', '""')}"`;
}

/**
 * The text with an apostrophe before each sign that a spreadsheet could take for the
 * beginning of a formula. Quotes do not help there: a quoted cell is evaluated too. A
 * spreadsheet of another locale splits lines at semicolons or tabs and takes quotes
 * within a cell as they are, so a formula may also begin after such a separator.
 * Some read full-width signs as the ASCII ones.
 */
function harmless(text: string): string {
  return text.replace(FORMULA, "$<before>'$<sign>").replace(/^(?=[\t\r\n])/, "'");
}

const FORMULA = /(?<before>(?:^|[,;|\t\r\n])[\s"']*)(?<sign>[=+\-@＝＋－＠])/gu;
