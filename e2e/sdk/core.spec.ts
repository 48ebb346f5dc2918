import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { build } from "esbuild";
import { NotFoundError, QuotaClient, type TokenSet } from "../../packages/core/src/index.ts";
import { bundledSuite, type SuiteResult } from "../../packages/core/test/bundle.ts";
import { expect, test } from "../fixtures.ts";
import { codeFor, makeClient, makePerson, originOf } from "../oauth.ts";
import { arrange, settled } from "../world.ts";

const root = fileURLToPath(new URL("../../", import.meta.url));

/** A page with an address, because Web Crypto needs a secure context. */
async function emptyPage(): Promise<{ url: string; close(): void }> {
  const server = createServer((_request, response) => void response.setHeader("content-type", "text/html").end("<title>Core</title>"));
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    url: `http://localhost:${(server.address() as AddressInfo).port}/`,
    close() {
      server.closeAllConnections();
      server.close();
    },
  };
}

async function scriptOfCore(): Promise<string> {
  const { outputFiles } = await build({
    entryPoints: [`${root}packages/core/dist/index.js`],
    bundle: true,
    format: "iife",
    globalName: "core",
    platform: "browser",
    write: false,
  });
  return outputFiles[0]?.text ?? "";
}

type WithCore = { core: typeof import("@usequota/core") };

test("core's own tests hold in a browser", async ({ page }) => {
  const site = await emptyPage();
  await page.goto(site.url);
  await page.addScriptTag({ content: await bundledSuite() });
  const results = await page.evaluate(() => (globalThis as unknown as { results: Promise<SuiteResult[]> }).results);
  site.close();
  expect(results.filter(({ problem }) => problem !== null)).toEqual([]);
  expect(results.length).toBeGreaterThan(20);
});

test("with an API key, every method has its documented effect at the server", async ({ postgresServer: server }) => {
  const world = await arrange(server.db, { externalUserId: "Élodie 🦊", developerBalance: 500n });
  const quota = new QuotaClient({ apiKey: world.key.secret, baseUrl: server.url });
  expect((await quota.listModels()).data.map(({ id }) => id)).toContain("gpt-4o-mini");
  expect((await quota.getUser("Élodie 🦊")).user).toEqual({ id: world.user.id, email: world.user.email, balance: 1_000_000 });
  expect((await quota.listUsers({ limit: 1 })).data[0]?.external_user_id).toBe("Élodie 🦊");
  expect((await quota.getMe()).app.id).toBe(world.app.id);

  const request = { model: "gpt-4o-mini", messages: [{ role: "user", content: "Hello!" }] };
  const answer = await quota.createChatCompletion(request, { externalUserId: "Élodie 🦊", idempotencyKey: "once" });
  expect(answer.quota.external_user_id).toBe("Élodie 🦊");
  expect(await quota.createChatCompletion(request, { externalUserId: "Élodie 🦊", idempotencyKey: "once" })).toEqual(answer);
  const stream = await quota.createChatCompletion({ ...request, stream: true }, { externalUserId: "Élodie 🦊" });
  let text = "";
  for await (const chunk of stream) text += chunk.choices[0]?.delta.content ?? "";
  expect(text).not.toBe("");
  expect(stream.quota?.balance_after).toBe(Number(await world.balance()));
  // After breaking off a stream, the server notices and keeps no hold.
  for await (const _ of await quota.createChatCompletion({ ...request, stream: true }, { externalUserId: "Élodie 🦊" })) break;
  await settled(server.db, world);

  const usage = await quota.getUsage({ external_user_id: "Élodie 🦊" });
  expect(usage.data.length).toBeGreaterThanOrEqual(2);
  expect(await quota.getUsage({ group_by: "model" })).toMatchObject({ group_by: "model", data: [{ group: "gpt-4o-mini" }] });
  const before = (await quota.getBalance({ externalUserId: "Élodie 🦊" })).balance;
  const gift = { external_user_id: "Élodie 🦊", amount: 100 };
  const funded = await quota.fundUser(gift, { idempotencyKey: "gift" });
  expect(await quota.fundUser(gift, { idempotencyKey: "gift" })).toEqual(funded);
  expect(await quota.getBalance({ externalUserId: "Élodie 🦊" })).toMatchObject({ wallet: "linked_user", balance: before + 100 });
  expect(await quota.getBalance()).toMatchObject({ wallet: "developer", balance: 400 });
  expect(await quota.unlinkUser("Élodie 🦊")).toEqual({ success: true });
  await expect(quota.getUser("Élodie 🦊")).rejects.toThrow(NotFoundError);
});

test("a user's tokens are exchanged, renewed once, and work for a stream in a browser on another site", async ({
  page,
  postgresServer: server,
}) => {
  const [client, person] = [await makeClient(server.db), await makePerson(server.db)];
  const { code, verifier } = await codeFor(server, person, client);
  const baseUrl = originOf(server);
  const app = { clientId: client.clientId, clientSecret: client.secret, baseUrl };
  const tokens = await new QuotaClient(app).exchangeCode({ code, codeVerifier: verifier, redirectUri: client.redirectUri });
  const stored: TokenSet[] = [];
  const quota = new QuotaClient({ ...app, ...tokens, expiresAt: 0, onTokens: (renewed) => void stored.push(renewed) });
  const balances = await Promise.all([quota.getBalance(), quota.getBalance(), quota.getBalance()]);
  for (const balance of balances) expect(balance).toMatchObject({ wallet: "oauth_user", balance: 1_000_000 });
  expect(stored).toHaveLength(1);
  expect(stored[0]?.refreshToken).not.toBe(tokens.refreshToken);

  const site = await emptyPage();
  await page.goto(site.url);
  await page.addScriptTag({ content: await scriptOfCore() });
  const seen = await page.evaluate(
    async (options) => {
      const { QuotaClient } = (globalThis as unknown as WithCore).core;
      const quota = new QuotaClient(options);
      const messages = [{ role: "user", content: "Hello!" }];
      const answer = await quota.createChatCompletion({ model: "gpt-4o-mini", messages });
      const stream = await quota.createChatCompletion({ model: "gpt-4o-mini", messages, stream: true });
      let text = "";
      for await (const chunk of stream) text += chunk.choices[0]?.delta.content ?? "";
      return { text, answer: answer.choices[0]?.message.content, left: stream.quota?.balance_after, requestId: stream.requestId };
    },
    { accessToken: stored[0]?.accessToken, baseUrl },
  );
  site.close();
  expect(seen.text).toBe(seen.answer);
  expect(seen.left).toBeLessThan(1_000_000);
  expect(seen.requestId).toMatch(/^req_/);
});

test("an API key or client secret given to a client in a browser is refused", async ({ page }) => {
  await page.addScriptTag({ content: await scriptOfCore() });
  const made = await page.evaluate(() => {
    const { QuotaClient } = (globalThis as unknown as WithCore).core;
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

test("core is under 8 kB, minified and gzipped, and unused parts are left out of a bundle", async () => {
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
