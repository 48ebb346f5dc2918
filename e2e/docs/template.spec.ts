import { readFile } from "node:fs/promises";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { readFence } from "../../src/app/docs/_content/code.ts";
import { freePort } from "../../src/testing/postgres.ts";
import { expect, test } from "../fixtures.ts";
import { installAsWritten } from "../install.ts";
import { makeClient, makePerson, originOf } from "../oauth.ts";
import { appOfTemplate, buildAndServe, changeConfig, writeFiles } from "../template.ts";

const root = fileURLToPath(new URL("../../", import.meta.url));

/** The files that a reader of the Next.js page writes. */
async function filesOfPage(settings: Record<string, string>): Promise<Map<string, string>> {
  const manual = await readFile(path.join(root, "docs/site/nextjs.md"), "utf8");
  const files = new Map<string, string>();
  for (const [, info = "", text = ""] of manual.matchAll(/^```(\S+.*)\n([\s\S]*?)^```$/gm)) {
    const { file } = readFence(info);
    if (file !== undefined)
      files.set(
        file,
        Object.entries(settings).reduce((now, [from, to]) => now.replace(from, to), text),
      );
  }
  return files;
}

/** A sign-in: a browser with the cookie `person` is that user. */
const SESSION = `import { cookies } from "next/headers";

export async function getSession(request?: Request): Promise<{ userId: string } | null> {
  const header = request?.headers.get("cookie") ?? (await cookies()).toString();
  const userId = /(?:^|; )person=([^;]+)/.exec(header)?.[1];
  return userId === undefined ? null : { userId };
}
`;

for (const base of ["", "/shop"]) {
  test(`the app that create-next-app writes, with cacheComponents${base === "" ? "" : " and a basePath"}, builds with the page's files, and a wallet is connected and shown to its user only`, async ({
    page,
    browser,
    postgresServer: server,
  }) => {
    test.setTimeout(300_000);
    const port = await freePort();
    const origin = `http://localhost:${port}`;
    const client = await makeClient(server.db, { redirectUris: [`${origin}${base}/api/quota/callback`] });
    const person = await makePerson(server.db);
    const { folder, remove } = await appOfTemplate();
    let app: Awaited<ReturnType<typeof buildAndServe>> | undefined;
    try {
      expect(await readFile(path.join(folder, "next.config.ts"), "utf8")).toContain("cacheComponents: true");
      if (base !== "") await changeConfig(folder, { basePath: base });
      await installAsWritten(await readFile(path.join(root, "docs/site/nextjs.md"), "utf8"), folder);
      await writeFiles(folder, [["lib/session.ts", SESSION]]);
      await writeFiles(
        folder,
        await filesOfPage({
          "http://localhost:3000": originOf(server),
          "quota_client_your-client-id": client.clientId,
          "quota_secret_your-client-secret": client.secret,
          "sk-quota-your-api-key": client.key,
        }),
      );
      // A page for users with a wallet, and one whose session Next does not see.
      await writeFiles(folder, [
        [
          "app/members/page.tsx",
          `import { requireQuotaUser } from "@usequota/nextjs";
import { Suspense } from "react";
import { getSession } from "../../lib/session";
async function Member() {
  const user = await requireQuotaUser({ externalUserId: (await getSession())?.userId ?? null, returnTo: "/members" });
  return <p>Welcome, {user.email}</p>;
}
export default function Page() {
  return <main><h1>Members</h1><Suspense><Member /></Suspense></main>;
}
`,
        ],
        [
          "app/fixed/page.tsx",
          `import { getQuotaUser } from "@usequota/nextjs";
import { Suspense } from "react";
async function Balance() {
  const user = await getQuotaUser({ externalUserId: "ada" });
  return <p>{user === null ? "nobody" : user.email}</p>;
}
export default function Page() {
  return <main><h1>Fixed</h1><Suspense><Balance /></Suspense></main>;
}
`,
        ],
      ]);
      app = await buildAndServe(folder, port);
      // Prerendered around the wallet, which is rendered for each request.
      for (const route of ["/", "/members", "/fixed"]) expect(app.output()).toMatch(new RegExp(`[◐⨯] ${route}(?:\\s|$)`, "m"));

      await page.context().addCookies([{ name: "person", value: "ada", domain: "localhost", path: "/" }]);
      // A user without a wallet is redirected to connect one, and back to the page.
      await page.goto(`${origin}${base}/members`);
      await page.getByLabel("Email").fill(person.email);
      await page.getByLabel("Password").fill(person.password);
      await page.getByRole("button", { name: "Sign in" }).click();
      await page.getByRole("button", { name: "Allow" }).click();
      await expect(page).toHaveURL(`${origin}${base}/members`);
      await expect(page.getByText(`Welcome, ${person.email}`)).toBeVisible();
      const [cookie] = (await page.context().cookies(`${origin}${base}/`)).filter(({ name }) => name === "external_user_id");
      expect([cookie?.path, cookie?.httpOnly]).toEqual([base || "/", true]);

      await page.goto(`${origin}${base || "/"}`);
      await expect(page.getByText("$1.00").first()).toBeVisible();
      await page.goto(`${origin}${base}/fixed`);
      await expect(page.getByText(person.email)).toBeVisible();
      const answer = await page.request.post(`${origin}${base}/api/chat`, { data: { messages: [{ role: "user", content: "Hello!" }] } });
      expect([answer.status(), (await answer.text()).length > 0]).toEqual([200, true]);

      // Disconnecting and connecting by the button, on a page with a query.
      await page.goto(`${origin}${base || "/"}?tab=2`);
      await page.getByRole("button", { name: "Disconnect" }).click();
      await page.getByRole("button", { name: "Yes, disconnect" }).click();
      await page.getByRole("button", { name: "Connect Wallet" }).click();
      await page.getByRole("button", { name: "Allow" }).click();
      await expect(page).toHaveURL(`${origin}${base || "/"}?tab=2`);
      await expect(page.getByRole("button", { name: "Disconnect" })).toBeVisible();
      expect(await server.db.prisma.linkedUser.count({ where: { appId: client.appId, externalUserId: "ada" } })).toBe(1);

      // A visitor without a session gets the same page without the wallet.
      const stranger = await browser.newContext();
      const theirs = await stranger.newPage();
      await theirs.goto(`${origin}${base || "/"}`);
      await expect(theirs.getByRole("button", { name: "Connect Wallet" })).toBeVisible();
      expect(await theirs.content()).not.toContain(person.email);
      await stranger.close();
      expect(app.output()).not.toMatch(/error/i);
    } finally {
      await app?.stop();
      await remove();
    }
  });
}
