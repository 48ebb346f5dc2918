import { parse } from "csv-parse/sync";
import * as fc from "fast-check";
import { expect, test } from "vitest";
import { type Cell, csvHead, csvLine } from "./csv-cells.ts";

const columns = ["time", "name", "credits"];
const file = (...lines: Cell[][]) => csvHead(columns) + lines.map(csvLine).join("");
/** Reads a file with a CSV parser whose options refuse everything outside RFC 4180. */
const read = (text: string, delimiter = ","): string[][] =>
  parse(Buffer.from(text), { bom: true, delimiter, record_delimiter: "\r\n", relax_quotes: false, relax_column_count: false });

const SIGNS = ["=", "+", "-", "@", "＝", "＋", "－", "＠"];

test("a file begins with the byte-order mark, by which Excel recognizes UTF-8", () => {
  expect([...Buffer.from(file()).subarray(0, 3)]).toEqual([0xef, 0xbb, 0xbf]);
  expect(read(file())).toEqual([columns]);
});

test("a parser of RFC 4180 reads one cell for each column and the same text, whatever the text contains", () => {
  const text = fc.string({ unit: "binary", maxLength: 40 }).filter((each) => each.isWellFormed());
  fc.assert(
    fc.property(fc.array(fc.tuple(text, text, fc.bigInt()), { maxLength: 5 }), (lines) => {
      const [head, ...rows] = read(file(...lines));
      expect(head).toEqual(columns);
      expect(rows).toHaveLength(lines.length);
      for (const [n, [first, second, credits]] of lines.entries()) {
        const row = rows[n] as string[];
        expect(row.map((cell) => cell.replaceAll("'", ""))).toEqual(
          [first, second, String(credits)].map((cell) => cell.replaceAll("'", "")),
        );
        // Apostrophes are added, and nothing is removed.
        expect((row[1] as string).length).toBeGreaterThanOrEqual(second.length);
      }
    }),
  );
});

test("a plain text is unchanged and in quotes; a number has no quotes", () => {
  expect(csvLine(["Acme Chat", -120n, 0, 9_007_199_254_740_993n, true, null, ""])).toBe('"Acme Chat",-120,0,9007199254740993,true,,""\r\n');
  const words = ['a "b" c', "one, two; three", "a\nb", "Élodie", "don't", "1-2", "a=b", "mail@acme.example", "a | b"];
  expect(read(file(...words.map((word) => ["t", word, 1n]))).slice(1)).toEqual(words.map((word) => ["t", word, "1"]));
});

test("no cell begins like a formula, also with full-width signs, and after white space or control characters", () => {
  for (const sign of SIGNS) {
    for (const before of ["", " ", "\t", "\r", "\n", "\r\n", "\u00a0", '"', "'", "\t \t"]) {
      const [, row] = read(file(["t", `${before}${sign}1+1`, 1n]));
      expect([before, sign, row?.[1]]).toEqual([before, sign, expect.stringMatching(/^(?!["\s]*[=+\-@＝＋－＠])/u)]);
    }
  }
  for (const control of ["\t", "\r", "\n"]) expect(read(file(["t", `${control}text`, 1n]))[1]?.[1]).toBe(`'${control}text`);
});

test("no cell begins like a formula in a spreadsheet that splits lines at another separator and keeps quotes", () => {
  for (const sign of SIGNS) {
    for (const separator of [";", "\t", "|", ",", "\n", "\r"]) {
      for (const before of ["", " ", '"', '" ']) {
        const text = file(["t", `a${separator}${before}${sign}1+1${separator}b`, 1n]).replace("\ufeff", "");
        for (const cell of text.split(separator).flatMap((part) => part.split(/\r\n|[\r\n]/)))
          expect([separator, before, cell]).toEqual([separator, before, expect.stringMatching(/^(?!["\s]*[=+@＝＋－＠]|["\s]*-\D)/u)]);
      }
    }
  }
});
