import { spawnSync } from "node:child_process";
import { copyFileSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { describe, expect, onTestFinished, test } from "vitest";
import { repository } from "./imports.ts";

/*
 * biome.json refuses files of src and of the packages with more than 400 lines, and functions of the product with more
 * than 80. Files that were longer when the rule was made are named there, with a limit of their own.
 */

const MOST_LINES = 400;
type Override = { includes: string[]; linter: { rules: { style?: { noExcessiveLinesPerFile?: { options: { maxLines: number } } } } } };
const { overrides } = JSON.parse(readFileSync(path.join(repository, "biome.json"), "utf8")) as { overrides: Override[] };
const limits = overrides.flatMap(({ includes, linter }) => {
  const most = linter.rules.style?.noExcessiveLinesPerFile?.options.maxLines;
  return most === undefined ? [] : [{ includes, most }];
});

const folders = ["src/server/ledger", "src/ui", "src/server/trpc/routers", "packages/core/src"];

describe("a file with more than 400 lines", () => {
  test("is refused, tests too, and one with 400 is not", () => {
    const root = mkdtempSync(path.join(tmpdir(), "quota-lengths-"));
    onTestFinished(() => rmSync(root, { recursive: true }));
    for (const name of ["biome.json", ".gitignore"]) copyFileSync(path.join(repository, name), path.join(root, name));
    const planted = folders.flatMap((folder) => [`${folder}/long.ts`, `${folder}/long.test.ts`, `${folder}/short.ts`]);
    for (const file of planted) {
      mkdirSync(path.join(root, path.dirname(file)), { recursive: true });
      const lines = file.includes("long") ? MOST_LINES + 1 : MOST_LINES;
      writeFileSync(path.join(root, file), "export {};\n".repeat(lines));
    }
    const args = ["lint", "--only=style/noExcessiveLinesPerFile", "--reporter=json", "--max-diagnostics=none", "."];
    const { stdout } = spawnSync(path.join(repository, "node_modules/.bin/biome"), args, { cwd: root, encoding: "utf8" });
    expect(planted.filter((file) => stdout.includes(file))).toEqual(planted.filter((file) => file.includes("long")));
  });

  test("is an exception only while it is that long", () => {
    const excepted = limits.filter(({ most }) => most > MOST_LINES).flatMap(({ includes }) => includes);
    const needless = excepted.filter((file) => {
      const whole = path.join(repository, file);
      return !existsSync(whole) || readFileSync(whole, "utf8").split("\n").length - 1 <= MOST_LINES;
    });
    expect(needless).toEqual([]);
  });
});
