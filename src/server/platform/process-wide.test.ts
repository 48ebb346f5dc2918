import { readdirSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { expect, test, vi } from "vitest";
import { processWide } from "./process-wide.ts";

test("two modules of the same file get the same value", async () => {
  const first = processWide("process-wide test: one", () => ({ by: "the first" }));
  vi.resetModules();
  const again = await import("./process-wide.ts");
  expect(again.processWide).not.toBe(processWide);
  expect(again.processWide("process-wide test: one", () => ({ by: "the second" }))).toBe(first);
});

test("a value is made once, even when it is undefined", () => {
  const make = vi.fn(() => undefined);
  processWide("process-wide test: two", make);
  processWide("process-wide test: two", make);
  expect(make).toHaveBeenCalledTimes(1);
});

test("no two files use the same name", () => {
  const server = fileURLToPath(new URL("..", import.meta.url));
  const names = readdirSync(server, { recursive: true, encoding: "utf8" })
    .filter((file) => file.endsWith(".ts") && !file.endsWith(".test.ts"))
    .flatMap((file) => [...readFileSync(server + file, "utf8").matchAll(/processWide(?:<[^(]*>)?\(\s*"([^"]+)"/g)].map(([, name]) => name));
  expect(names.length).toBeGreaterThan(10);
  expect(names).toEqual([...new Set(names)]);
});
