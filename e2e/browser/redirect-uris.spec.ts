// biome-ignore-all lint/correctness/noEmptyPattern: Playwright reads what a fixture needs from this pattern, and takes no other for none.
import { createServer, type RequestListener, type Server } from "node:http";
import { createServer as createTlsServer } from "node:https";
import type { AddressInfo } from "node:net";
import type { LaunchOptions } from "@playwright/test";
import { redirectUriProblem } from "../../src/server/connect/redirect-uris.ts";
import { selfSignedCertificate } from "../../src/testing/certificate.ts";
import { chromiumLaunchOptions } from "../chromium.ts";
import { test as base, expect } from "../fixtures.ts";
import { authorizeUrl, HOSTED, makeClient, makePerson, pkce, redeem } from "../oauth.ts";

type Ports = { http: number; https: number };

/** An app that answers under every host name, also on the default ports. */
const test = base.extend<object, { app: Ports; launchOptions: LaunchOptions }>({
  app: [
    async ({}, use) => {
      const answer: RequestListener = (_request, response) =>
        void response.setHeader("content-type", "text/html").end("<title>App</title><h1>Back in the app</h1>");
      const servers: Server[] = [createServer(answer), createTlsServer(selfSignedCertificate(), answer)];
      for (const server of servers) await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
      const [http = 0, https = 0] = servers.map((server) => (server.address() as AddressInfo).port);
      await use({ http, https });
      for (const server of servers) {
        server.closeAllConnections();
        server.close();
      }
    },
    { scope: "worker" },
  ],
  launchOptions: [
    async ({ app }, use) => {
      const options = chromiumLaunchOptions();
      const rules = [
        `MAP *:443 127.0.0.1:${app.https}`,
        `MAP *:80 127.0.0.1:${app.http}`,
        `MAP [2001:db8::1] 127.0.0.1:${app.https}`,
        "MAP * 127.0.0.1",
      ];
      await use({ ...options, args: [...(options.args ?? []), `--host-resolver-rules=${rules.join(",")}`] });
    },
    { scope: "worker" },
  ],
});

test.use({ ignoreHTTPSErrors: true });

const accepted = ({ http, https }: Ports): string[] => [
  `http://localhost:${http}/callback`,
  "http://localhost/callback",
  `http://LOCALHOST:${http}/Callback`,
  `http://127.0.0.1:${http}/callback`,
  "http://127.0.0.1",
  `http://127.1:${http}/callback`,
  `https://localhost:${https}/callback`,
  "https://acme.example/callback",
  "https://acme.example",
  `https://acme.example:${https}/deep/path;v=1/callback?from=quota&code=theirs`,
  "https://acme.example:443/callback",
  "https://acme.example./callback",
  "https://ACME.example/a/../callback",
  "https://b\u00fccher.example/r\u00fcckweg?wo=\u00fcberall",
  "https://xn--bcher-kva.example/callback",
  "https://\u4f8b\u3048.example/callback",
  "https://under_score.acme.example/callback",
  "https://192.0.2.7/callback",
  `https://[2001:db8::1]:${https}/callback`,
  `https://acme.example/${"long/".repeat(394)}`,
];

test("the consent page leads to every redirect URI that registration accepts, with a code that can be redeemed", async ({
  page,
  postgresServer: server,
  app,
}) => {
  const uris = accepted(app);
  expect(uris.map((uri) => [uri, redirectUriProblem(uri)])).toEqual(uris.map((uri) => [uri, null]));
  const person = await makePerson(server.db);
  const client = await makeClient(server.db, { redirectUris: uris, name: "Everywhere" });
  for (const [n, uri] of uris.entries()) {
    await test.step(uri.slice(0, 100), async () => {
      const { verifier, challenge } = pkce();
      await page.goto(authorizeUrl(server, client, challenge, { redirect_uri: uri }));
      if (n === 0) {
        await page.getByLabel("Email").fill(person.email);
        await page.getByLabel("Password").fill(person.password);
        await page.getByRole("button", { name: "Sign in" }).click();
      }
      await page.getByRole("button", { name: "Allow" }).click();
      await expect(page.getByRole("heading", { name: "Back in the app" })).toBeVisible();
      const back = new URL(page.url());
      const registered = new URL(uri);
      expect([back.origin, back.pathname, back.searchParams.get("state")]).toEqual([registered.origin, registered.pathname, "the-state"]);
      const issued = { code: back.searchParams.get("code") as string, verifier };
      const answer = await redeem(server, client, issued, { ...HOSTED, external_user_id: "their-1", redirect_uri: uri });
      expect([uri, answer.status, answer.json.external_user_id]).toEqual([uri, 200, "their-1"]);
    });
  }
});

test("an earlier registered address that no browser can open is refused before the consent page", async ({
  page,
  postgresServer: server,
  app,
}) => {
  const stale = [`http://[::1]:${app.http}/callback`, "http://localhost:6000/callback", "https://*.acme.example/callback"];
  const client = await makeClient(server.db, { redirectUris: [...stale, `http://localhost:${app.http}/callback`] });
  for (const redirect_uri of stale) {
    await page.goto(authorizeUrl(server, client, pkce().challenge, { redirect_uri }));
    await expect(page.getByRole("heading", { name: "This link is broken" })).toBeVisible();
    await expect(page.getByText("redirect_uri")).toBeVisible();
  }
});
