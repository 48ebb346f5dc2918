import { createServer, request as send } from "node:http";
import type { AddressInfo } from "node:net";
import { chromiumLaunchOptions } from "../chromium.ts";
import { expect, test } from "../fixtures.ts";
import { authorizeUrl, HOSTED, makeClient, makePerson, originOf, pkce, redeem } from "../oauth.ts";

test("an app's link to another name of the server leads to its own address, where the wallet is connected", async ({
  page,
  postgresServer: server,
}) => {
  const person = await makePerson(server.db);
  const app = createServer((_request, response) => void response.setHeader("content-type", "text/html").end("<h1>Back in the app</h1>"));
  await new Promise<void>((resolve) => app.listen(0, "127.0.0.1", resolve));
  try {
    const client = await makeClient(server.db, { redirectUris: [`http://localhost:${(app.address() as AddressInfo).port}/callback`] });
    const { verifier, challenge } = pkce();
    await page.goto(authorizeUrl(server, client, challenge).replace(originOf(server), server.url));
    await expect(page).toHaveURL((url) => url.origin === originOf(server));
    await page.getByLabel("Email").fill(person.email);
    await page.getByLabel("Password").fill(person.password);
    await page.getByRole("button", { name: "Sign in" }).click();
    await page.getByRole("button", { name: "Allow" }).click();
    await expect(page.getByRole("heading", { name: "Back in the app" })).toBeVisible();
    const code = new URL(page.url()).searchParams.get("code") as string;
    const answer = await redeem(server, client, { code, verifier }, { ...HOSTED, external_user_id: "ada" });
    expect([answer.status, answer.json.external_user_id]).toEqual([200, "ada"]);
  } finally {
    app.closeAllConnections();
    app.close();
  }
});

test("with QUOTA_URL, signing in leads there, also from links within the pages, and works behind a proxy that sends another Host", async ({
  playwright,
  start,
}) => {
  const server = await start({ pages: true, env: { QUOTA_URL: "http://quota.example" } });
  const { port } = new URL(server.url);
  // A proxy that sends its own Host and no X-Forwarded-Host.
  const proxy = createServer((incoming, outgoing) => {
    const headers = { ...incoming.headers, host: `127.0.0.1:${port}` };
    const on = send({ port, host: "127.0.0.1", method: incoming.method, path: incoming.url, headers }, (answer) => {
      outgoing.writeHead(answer.statusCode as number, answer.headers);
      answer.pipe(outgoing);
    });
    on.once("error", () => outgoing.destroy());
    incoming.pipe(on);
  });
  await new Promise<void>((resolve) => proxy.listen(0, "127.0.0.1", resolve));
  const options = chromiumLaunchOptions();
  const visit = async (proxied: boolean) => {
    const target = proxied ? (proxy.address() as AddressInfo).port : port;
    const rules = `--host-resolver-rules=MAP quota.example:80 127.0.0.1:${target}`;
    const browser = await playwright.chromium.launch({ ...options, args: [...(options.args ?? []), rules] });
    return { browser, page: await browser.newPage() };
  };
  const direct = await visit(false);
  const behind = await visit(true);
  try {
    const { page } = direct;
    await page.goto(server.url);
    await page.getByRole("link", { name: "Sign in" }).first().click();
    await expect(page).toHaveURL(/^http:\/\/quota\.example\/sign-in/);
    await page.getByLabel("Email").fill(server.demo.user.email);
    await page.getByLabel("Password").fill(server.demo.user.password);
    await page.getByRole("button", { name: "Sign in", exact: true }).click();
    await expect(page).toHaveURL("http://quota.example/wallet");

    await behind.page.goto("http://quota.example/sign-in?callbackUrl=/wallet/security");
    await behind.page.getByLabel("Email").fill(server.demo.user.email);
    await behind.page.getByLabel("Password").fill(server.demo.user.password);
    await behind.page.getByRole("button", { name: "Sign in", exact: true }).click();
    await expect(behind.page).toHaveURL("http://quota.example/wallet/security");
    expect(server.output().stderr).toContain("let the proxy pass on Host");
  } finally {
    await Promise.all([direct.browser.close(), behind.browser.close()]);
    proxy.closeAllConnections();
    proxy.close();
  }
});
