import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { describe, expect, onTestFinished, test } from "vitest";
import { refusals, repository, sources } from "./imports.ts";
import { roomOf, rooms } from "./rooms.ts";

const folders = [...new Set(sources().map((file) => path.posix.dirname(file)))].filter(
  (folder) => folder !== "src" && folder !== "src/server",
);
const fileOf = (room: string) => (/\.ts$/.test(room) ? room : `${room}/planted.ts`);

function relative(folder: string, file: string): string {
  const way = path.posix.relative(folder, file);
  return way.startsWith(".") ? way : `./${way}`;
}

describe("the list of rooms", () => {
  test("names only paths that exist", () => {
    const missing = rooms.filter(({ path: room }) => room !== "src/generated" && !existsSync(path.join(repository, room)));
    expect(missing).toEqual([]);
  });

  test("has no cycle: a room uses only rooms above it", () => {
    const upwards = rooms.flatMap(({ path: room, uses }, index) =>
      uses.filter((used) => !rooms.slice(0, index).some((above) => above.path === used)).map((used) => `${room} uses ${used}`),
    );
    expect(upwards).toEqual([]);
  });

  test("has every file of src and prisma in a room", () => {
    expect(sources().filter((file) => !roomOf(file))).toEqual([]);
    expect(folders.length).toBeGreaterThan(60);
  });
});

describe("a planted import is refused", () => {
  test.each(folders)("in %s, from every room that it may not use", (folder) => {
    const planted = `${folder}/planted.ts`;
    const own = roomOf(planted);
    const strange = rooms.filter((room) => room !== own && !own?.uses.includes(room.path));
    expect(strange).not.toEqual([]);
    for (const room of strange) {
      const target = fileOf(room.path);
      expect(refusals(planted, `import { x } from "${relative(folder, target)}";`)).toEqual([
        expect.stringContaining(`${planted}:1 imports ${target},`),
      ]);
    }
  });

  test.each(rooms.filter(({ uses }) => uses.length > 0))("and an allowed one in $path is not", ({ path: room, uses }) => {
    const file = fileOf(room);
    for (const used of uses) {
      expect(refusals(file, `import { x } from "${relative(path.posix.dirname(file), fileOf(used))}";`)).toEqual([]);
    }
  });

  test.each([
    ["a type", `import type { X } from "../people/auth.ts";`],
    ["a type in an expression", `let x: import("../people/auth.ts").X;`],
    ["a side effect", `import "../people/auth.ts";`],
    ["a re-export", `export { x } from "../people/auth.ts";`],
    ["a re-export of everything", `export * from "../people/auth.ts";`],
    ["import()", `const x = await import("../people/auth.ts");`],
    ["import() of a template", "const x = await import(`../people/auth.ts`);"],
    ["require", `const x = require("../people/auth.ts");`],
    ["a worker's file", `new Worker(new URL("../people/auth.ts", import.meta.url));`],
    ["an alias", `import { x } from "#server/people/auth.ts";`],
    ["no extension", `import { x } from "../people/auth";`],
    ["a way round", `import { x } from "../../../src/server/people/auth.ts";`],
    ["a path of its own making", `const x = await import(folder + "/auth.ts");`],
    ["a test", `import { x } from "./price.test.ts";`],
    ["what has no room", `import { x } from "../../../bench/load.ts";`],
  ])("in any form: %s", (_, line) => {
    expect(refusals("src/server/pricing/planted.ts", `// a line before\n${line}\n`)).toEqual([
      expect.stringContaining("src/server/pricing/planted.ts:2 "),
    ]);
  });

  test("and packages, comments and strings are ignored", () => {
    const text = `import fs from "node:fs";\nimport { z } from "zod";\n// import "../people/auth.ts"\nconst x = 'import "../people/auth.ts"';\n`;
    expect(refusals("src/server/pricing/planted.ts", text)).toEqual([]);
  });

  test("by the command, which then fails; the repository itself passes", () => {
    const root = mkdtempSync(path.join(tmpdir(), "quota-imports-"));
    onTestFinished(() => rmSync(root, { recursive: true }));
    mkdirSync(path.join(root, "src/server/pricing"), { recursive: true });
    writeFileSync(path.join(root, "src/server/pricing/planted.ts"), `import "../people/delete-account.ts";\n`);
    const planted = run(root);
    expect(planted.stderr).toContain("src/server/pricing/planted.ts:1 imports src/server/people/delete-account.ts,");
    expect(planted.status).toBe(1);
    expect(run(repository)).toMatchObject({ stderr: "", status: 0 });
  });
});

function run(root: string): { stderr: string; status: number | null } {
  return spawnSync(process.execPath, [path.join(repository, "lint/imports.ts"), root], { encoding: "utf8" });
}
