import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { describe, expect, onTestFinished, test } from "vitest";
import { repository } from "./imports.ts";
import { refusals, sources } from "./prose.ts";

const planted = (text: string) => refusals("src/planted.ts", text);

describe("a word that docs/style.md refuses is found", () => {
  test.each([
    ["a line comment", "const x = 1;\n// Nobody waits.\n"],
    ["a doc comment, at its own line", "/**\n * Whoever waits.\n */"],
    ["a comment in JSX", "const x = (\n  <p>{/* Nobody waits. */}</p>\n);"],
    ["a title", "\ntest('nobody waits', () => {});"],
    ["a title of a table", "\ntest.each([1])('nobody waits for %s', () => {});"],
    ["a title of a step", "\ntest.step(`nobody waits`, () => {});"],
    ["a title of a suite on both databases", "\nonBothDatabases('nobody waits', () => {});"],
  ])("in %s", (_, text) => {
    const file = text.includes("<p>") ? "src/planted.tsx" : "src/planted.ts";
    expect(refusals(file, text)).toEqual([expect.stringMatching(/^src\/planted\.tsx?:2 says "(nobody|whoever)"/i)]);
  });

  test("in a comment of the schema", () => {
    const schema = 'model A {\n  /// Whoever waits, not `nobody`.\n  id String @default("nobody")\n}';
    expect(refusals("prisma/schema/a.prisma", schema)).toEqual([expect.stringMatching(/^prisma\/schema\/a\.prisma:2 says "Whoever"/)]);
  });

  test("by the command, which then fails; the repository itself passes", () => {
    const root = mkdtempSync(path.join(tmpdir(), "quota-prose-"));
    onTestFinished(() => rmSync(root, { recursive: true }));
    mkdirSync(path.join(root, "src"));
    writeFileSync(path.join(root, "src/planted.ts"), "// Meanwhile.\n");
    expect(run(root)).toMatchObject({ stderr: expect.stringContaining('src/planted.ts:1 says "Meanwhile"'), status: 1 });
    expect(run(repository)).toMatchObject({ stderr: "", status: 0 });
  });
});

test("a word in a document is found at its line, and not in code", () => {
  const text = "# Title\n\n```sh\nwhoami # nobody\n```\n\nRuns as `nobody`.\n\nNobody waits.\n";
  expect(refusals("docs/planted.md", text)).toEqual([expect.stringMatching(/^docs\/planted\.md:9 says "Nobody"/)]);
});

test("other strings, names and code in comments are not prose", () => {
  expect(planted("const nobody = 'nobody waits'; // Runs as `nobody`.\nfind('nobody');")).toEqual([]);
});

test("the folders of the product, its schema, tests, benchmarks, packages and documents are checked", () => {
  expect(sources()).toEqual(
    expect.arrayContaining([
      "src/env.ts",
      "prisma/schema/ledger.prisma",
      "e2e/fixtures.ts",
      "bench/bench.ts",
      "packages/core/src/client.ts",
      "README.md",
      "docs/operating.md",
    ]),
  );
});

function run(root: string): { stderr: string; status: number | null } {
  return spawnSync(process.execPath, [path.join(repository, "lint/prose.ts"), root], { encoding: "utf8" });
}
