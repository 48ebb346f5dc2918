import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { build } from "esbuild";
import { bundledSuite, type SuiteResult } from "../../packages/core/test/bundle.ts";
import { expect, test } from "../fixtures.ts";

const root = fileURLToPath(new URL("../../", import.meta.url));

test("core's own tests hold in a browser", async ({ page }) => {
  // An address of its own: a page without one has no Web Crypto.
  const server = createServer((_request, response) => void response.setHeader("content-type", "text/html").end("<title>Core</title>"));
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  await page.goto(`http://localhost:${(server.address() as AddressInfo).port}/`);
  await page.addScriptTag({ content: await bundledSuite() });
  const results = await page.evaluate(() => (globalThis as unknown as { results: Promise<SuiteResult[]> }).results);
  server.closeAllConnections();
  server.close();
  expect(results.filter(({ problem }) => problem !== null)).toEqual([]);
  expect(results.length).toBeGreaterThan(20);
});

test("an API key or client secret given to a client in a browser is refused", async ({ page }) => {
  const bundle = await build({
    entryPoints: [`${root}packages/core/dist/index.js`],
    bundle: true,
    format: "iife",
    globalName: "core",
    platform: "browser",
    write: false,
  });
  await page.addScriptTag({ content: bundle.outputFiles[0]?.text ?? "" });
  const made = await page.evaluate(() => {
    const { QuotaClient } = (globalThis as unknown as { core: typeof import("@usequota/core") }).core;
    return [{ apiKey: "sk-quota-x" }, { clientId: "c", clientSecret: "s" }, { accessToken: "t" }].map((options) => {
      try {
        return new QuotaClient(options).baseUrl;
      } catch (error) {
        return (error as Error).name;
      }
    });
  });
  expect(made).toEqual(["QuotaError", "QuotaError", "https://api.usequota.ai"]);
});

test("core is under 8 kB, minified and gzipped, and what is not used is not in it", async () => {
  const size = async (contents: string) => {
    const { outputFiles } = await build({
      stdin: { contents, resolveDir: `${root}packages/core/dist` },
      bundle: true,
      minify: true,
      format: "esm",
      platform: "neutral",
      write: false,
    });
    return gzipSync(outputFiles[0]?.contents ?? new Uint8Array()).length;
  };
  expect(await size('export * from "./index.js"')).toBeLessThan(8_000);
  expect(await size('export { constructEvent } from "./index.js"')).toBeLessThan(2_000);
});
