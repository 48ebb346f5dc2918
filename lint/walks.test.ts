import { existsSync, readFileSync } from "node:fs";
import path from "node:path";
import { describe, expect, test } from "vitest";
import { importsOf, repository, resolve } from "./imports.ts";

type Step = { file: string; says: string };

const walks = readWalks(read("docs/architecture.md"));

test("docs/architecture.md walks through a request, a consent and an event", () => {
  expect([...walks.keys()]).toEqual(["One request", "One consent", "One event"]);
  for (const steps of walks.values()) expect(steps.length).toBeGreaterThan(5);
});

describe.each([...walks])("%s", (_, steps) => {
  test.each(steps.map((step, at) => ({ ...step, at })))("$file is reached from a file before it", ({ file, says, at }) => {
    const before = steps.slice(0, at).map((step) => step.file);
    const isImported = before.some((each) => each === file || targetsOf(each).includes(file) || calls(each, file));
    const [, reachedBy] = /Not imported: .*`([^`]+)`/.exec(says) ?? [];
    if (at === 0) expect(reachedBy).toBeUndefined();
    else if (reachedBy === undefined) expect({ file, isImported }).toEqual({ file, isImported: true });
    else {
      expect({ file, isImported }).toEqual({ file, isImported: false });
      expect(before.map((each) => path.posix.basename(each))).toContain(reachedBy);
    }
  });

  test.each(steps)("$file contains the names in its line", ({ file, says }) => {
    const files = steps.map((step) => path.posix.basename(step.file));
    const names = [...says.matchAll(/`([^`]+)`/g)]
      .map(([, name = ""]) => name.replace(/^(GET|POST) /, ""))
      .filter((name) => !files.includes(name));
    const text = read(file);
    // A door's address is the path of its file, so it is not in any file's text.
    expect(names.filter((name) => !text.includes(name) && !(name.startsWith("/") && isAddressOf(name, steps)))).toEqual([]);
  });
});

/** Whether an address begins with a folder of src/app that the walk goes through. */
function isAddressOf(address: string, steps: Step[]): boolean {
  const [, first = ""] = address.split("/");
  return steps.some(({ file }) => file.startsWith(`src/app/${first}/`));
}

function read(file: string): string {
  return readFileSync(path.join(repository, file), "utf8");
}

/** Whether a file calls one of the functions of the database that this SQL file makes. */
function calls(file: string, sqlFile: string): boolean {
  if (!sqlFile.endsWith(".sql")) return false;
  const functions = [...read(sqlFile).matchAll(/CREATE OR REPLACE FUNCTION "(\w+)"/g)].map(([, name]) => name);
  return functions.some((name) => new RegExp(`\\b${name}\\(`).test(read(file)));
}

function targetsOf(file: string): (string | undefined)[] {
  if (file.endsWith(".sql")) return [];
  return importsOf(file, read(file)).map(({ target }) => (target === undefined ? undefined : resolve(file, target)));
}

/** The numbered lines under each heading of "Three walks": a file, and what it does. */
function readWalks(markdown: string): Map<string, Step[]> {
  const [, section = ""] = /^## Three walks\n(.*?)^## /ms.exec(markdown) ?? [];
  return new Map(
    section
      .split(/^### /m)
      .slice(1)
      .map((each) => {
        const [title = "", ...lines] = each.split("\n");
        const steps = lines.filter((line) => line !== "").map((line, index) => stepOf(line, index + 1));
        return [title, steps];
      }),
  );
}

function stepOf(line: string, number: number): Step {
  const [, count, file, says] = /^(\d+)\. `([^`]+)`: (.+)$/.exec(line) ?? [];
  if (Number(count) !== number || file === undefined || says === undefined) throw new Error(`no step number ${number} of a walk: ${line}`);
  if (!existsSync(path.join(repository, file))) throw new Error(`a walk goes through ${file}, which is not there`);
  return { file, says };
}
