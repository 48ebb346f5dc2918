import { readFileSync } from "node:fs";
import { EdgeVM } from "@edge-runtime/vm";
import { describe, expect, test, vi } from "vitest";
import { wireFile } from "../../build.ts";
import { wireTypes } from "../../wire-types.ts";
import { QuotaClient } from "../src/index.ts";
import { bundledSuite, type SuiteResult } from "./bundle.ts";
import { suite } from "./suite.ts";

describe("in Node", () => {
  for (const [name, run] of Object.entries(suite)) test(name, run);
});

test("the environment names the public address and the one for servers", async () => {
  vi.stubEnv("QUOTA_API_URL", "https://quota.test");
  vi.stubEnv("QUOTA_SERVER_URL", "http://quota:3000/");
  const asked: string[] = [];
  const fetch = async (url: unknown) => {
    asked.push(String(url));
    return Response.json({ data: [] });
  };
  const client = new QuotaClient({ apiKey: "k", fetch: fetch as typeof globalThis.fetch });
  await client.listModels();
  vi.unstubAllEnvs();
  expect([client.baseUrl, asked]).toEqual(["https://quota.test", ["http://quota:3000/v1/models"]]);
});

test("the whole suite passes in an edge runtime", async () => {
  const vm = new EdgeVM();
  vm.evaluate(await bundledSuite());
  const results = await (vm.evaluate("globalThis.results") as Promise<SuiteResult[]>);
  expect(results.filter(({ problem }) => problem !== null)).toEqual([]);
  expect(results).toHaveLength(Object.keys(suite).length);
});

test("the SDK's types are those of the server's schemas", () => {
  expect(readFileSync(wireFile, "utf8"), "npm run build:packages writes them anew").toBe(wireTypes());
});
