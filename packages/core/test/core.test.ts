import { readFileSync } from "node:fs";
import { EdgeVM } from "@edge-runtime/vm";
import { describe, expect, test } from "vitest";
import { wireFile } from "../../build.ts";
import { wireTypes } from "../../wire-types.ts";
import { bundledSuite, type SuiteResult } from "./bundle.ts";
import { suite } from "./suite.ts";

describe("in Node", () => {
  for (const [name, run] of Object.entries(suite)) test(name, run);
});

test("the whole suite holds in an edge runtime", async () => {
  const vm = new EdgeVM();
  vm.evaluate(await bundledSuite());
  const results = await (vm.evaluate("globalThis.results") as Promise<SuiteResult[]>);
  expect(results.filter(({ problem }) => problem !== null)).toEqual([]);
  expect(results).toHaveLength(Object.keys(suite).length);
});

test("the SDK's types are those of the server's schemas", () => {
  expect(readFileSync(wireFile, "utf8"), "npm run build:packages writes them anew").toBe(wireTypes());
});
