import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { readFence } from "../../src/app/docs/_content/code.ts";
import { freePort } from "../../src/testing/postgres.ts";
import { expect, test } from "../fixtures.ts";
import { installAsWritten } from "../install.ts";
import { makeClient, makePerson, originOf } from "../oauth.ts";

const root = fileURLToPath(new URL("../../", import.meta.url));

test("by the page about Next.js alone, an existing app gets a Connect Wallet button and bills a request", async ({
  page,
  postgresServer: server,
}) => {
  test.setTimeout(180_000);
  const port = await freePort();
  const app = `http://localhost:${port}`;
  const client = await makeClient(server.db, { redirectUris: [`${app}/api/quota/callback`], name: "An existing app" });
  const person = await makePerson(server.db);
  await mkdir(path.join(root, "test-results"), { recursive: true });
  const folder = await mkdtemp(path.join(root, "test-results/existing-app-"));
  let child: ChildProcess | undefined;
  try {
    await existingApp(folder);
    const manual = await readFile(path.join(root, "docs/site/nextjs.md"), "utf8");
    await installAsWritten(manual, folder);
    // The files as shown on the page.
    const files = filesOf(manual);
    expect([...files.keys()]).toEqual([".env.local", "proxy.ts", "app/wallet.tsx", "app/page.tsx", "app/api/chat/route.ts"]);
    for (const [name, text] of files) {
      await mkdir(path.dirname(path.join(folder, name)), { recursive: true });
      await writeFile(
        path.join(folder, name),
        text
          .replace("http://localhost:3000", originOf(server))
          .replace("quota_client_your-client-id", client.clientId)
          .replace("quota_secret_your-client-secret", client.secret)
          .replace("sk-quota-your-api-key", client.key),
      );
    }
    child = spawn(process.execPath, [path.join(root, "node_modules/next/dist/bin/next"), "dev", "--port", String(port)], {
      cwd: folder,
      stdio: "pipe",
      env: { PATH: process.env.PATH, NODE_ENV: "development", NEXT_TELEMETRY_DISABLED: "1" },
    });
    await listening(child, app);

    await page.goto(app);
    await page.getByRole("button", { name: "Connect Wallet" }).click();
    await page.getByLabel("Email").fill(person.email);
    await page.getByLabel("Password").fill(person.password);
    await page.getByRole("button", { name: "Sign in" }).click();
    await page.getByRole("button", { name: "Allow" }).click();
    await expect(page).toHaveURL(new RegExp(`^${app}/`), { timeout: 30_000 });
    await expect(page.getByText("$1.00").first()).toBeVisible({ timeout: 30_000 });

    const answer = await page.request.post(`${app}/api/chat`, {
      data: { messages: [{ role: "user", content: "Hello!" }] },
      timeout: 60_000,
    });
    expect([answer.status(), (await answer.text()).length > 0]).toEqual([200, true]);
    const [usage] = await server.db.prisma.usage.findMany({ where: { appId: client.appId } });
    expect(usage?.billingMode).toBe("user");
    const link = await server.db.prisma.linkedUser.findFirstOrThrow({ where: { appId: client.appId } });
    expect([link.externalUserId, link.userId]).toEqual(["person-7", person.id]);
  } finally {
    if (child !== undefined) {
      child.kill("SIGTERM");
      await once(child, "close");
    }
    await rm(folder, { recursive: true, force: true });
  }
});

/** The app before: a page, and a sign-in for one user. */
async function existingApp(folder: string): Promise<void> {
  const files = {
    "package.json": JSON.stringify({ name: "existing-app", private: true, type: "module" }),
    "next.config.js": `export default { turbopack: { root: ${JSON.stringify(root)} } };`,
    "lib/session.ts": `export async function getSession(_request?: Request): Promise<{ userId: string } | null> {
  return { userId: "person-7" };
}
`,
    "app/layout.tsx": `export default function Layout({ children }: { children: React.ReactNode }) {
  return <html lang="en"><body>{children}</body></html>;
}
`,
  };
  for (const [name, text] of Object.entries(files)) {
    await mkdir(path.dirname(path.join(folder, name)), { recursive: true });
    await writeFile(path.join(folder, name), text);
  }
}

function filesOf(markdown: string): Map<string, string> {
  const files = new Map<string, string>();
  for (const [, info = "", text = ""] of markdown.matchAll(/^```(\S+.*)\n([\s\S]*?)^```$/gm)) {
    const { file } = readFence(info);
    if (file !== undefined) files.set(file, text);
  }
  return files;
}

async function listening(child: ChildProcess, url: string): Promise<void> {
  let output = "";
  const collect = (text: Buffer) => {
    output += text;
  };
  child.stdout?.on("data", collect);
  child.stderr?.on("data", collect);
  await expect
    .poll(
      () => {
        if (child.exitCode !== null) throw new Error(`The app ended:\n${output}`);
        return fetch(url).then(
          ({ status }) => status,
          () => 0,
        );
      },
      { timeout: 90_000 },
    )
    .toBe(200);
}
