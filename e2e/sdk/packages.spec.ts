import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { cp, mkdir, mkdtemp, readFile, rm, symlink, writeFile } from "node:fs/promises";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { packPackages } from "../../packages/build.ts";
import { freePort } from "../../src/testing/postgres.ts";
import { test as base, expect } from "../fixtures.ts";
import { makeClient, makePerson, originOf, Visitor } from "../oauth.ts";
import { arrange } from "../world.ts";

const root = fileURLToPath(new URL("../../", import.meta.url));
const run = promisify(execFile);
const bin = (file: string) => path.join(root, "node_modules", file);

/** The packages as npm would publish them. */
const test = base.extend<object, { tarballs: { core: string; nextjs: string; folder: string } }>({
  tarballs: [
    // biome-ignore lint/correctness/noEmptyPattern: Playwright reads what a fixture needs from this pattern, and takes no other for none.
    async ({}, use) => {
      await mkdir(path.join(root, "test-results"), { recursive: true });
      // Within the repository, so that projects there find Next.js and React in a parent folder.
      const folder = await mkdtemp(path.join(root, "test-results/packed-"));
      await use({ ...packPackages(folder), folder });
      await rm(folder, { recursive: true, force: true });
    },
    { scope: "worker" },
  ],
});

/** An empty project with the two tarballs installed, without a network. */
async function project(tarballs: { core: string; nextjs: string; folder: string }): Promise<string> {
  const folder = await mkdtemp(path.join(tarballs.folder, "app-"));
  await writeFile(path.join(folder, "package.json"), JSON.stringify({ name: "empty", private: true, type: "module" }));
  const options = ["--offline", "--legacy-peer-deps", "--ignore-scripts", "--no-audit", "--no-fund", "--no-package-lock"];
  await run("npm", ["install", ...options, tarballs.core, tarballs.nextjs], { cwd: folder });
  // Peer dependencies, which the test does not cover.
  for (const name of ["next", "react", "react-dom", "typescript", "@types"]) {
    await symlink(bin(name), path.join(folder, "node_modules", name), "junction");
  }
  return folder;
}

/** The TypeScript snippets of the source document. */
async function snippets(): Promise<{ core: string; middleware: string }> {
  const text = await readFile(path.join(root, "../shared/seed/hosted-users.txt"), "utf8");
  const found = text
    .split(/\n(?=import )/)
    .slice(1)
    // A snippet ends after the last line that closes a call, before the next paragraph.
    .map((part) => part.slice(0, part.lastIndexOf("});", part.search(/\n\n[A-Z]/) === -1 ? undefined : part.search(/\n\n[A-Z]/)) + 3));
  const one = (name: string) => {
    const matching = found.filter((part) => part.includes(name));
    expect(matching, `one snippet with ${name}`).toHaveLength(1);
    return matching[0] as string;
  };
  return { core: one("new QuotaClient("), middleware: one("createQuotaMiddleware({") };
}

const hasSource = existsSync(path.join(root, "../shared/seed/hosted-users.txt"));

test("publint finds nothing in the packages", async ({ tarballs }) => {
  for (const tarball of [tarballs.core, tarballs.nextjs]) {
    const { stdout } = await run(process.execPath, [bin("publint/src/cli.js"), "run", tarball, "--strict"]);
    expect(stdout).toContain("All good!");
  }
});

test("are-the-types-wrong finds nothing, for any resolution of ES modules", async ({ tarballs }) => {
  for (const tarball of [tarballs.core, tarballs.nextjs]) {
    // The command exits with an error when it finds a problem.
    const options = ["--profile", "esm-only", "--exclude-entrypoints", "./styles.css", "--no-color"];
    await run(process.execPath, [bin("@arethetypeswrong/cli/dist/index.js"), tarball, ...options]);
  }
});

test("the packages contain the needed files and no others", async ({ tarballs }) => {
  for (const [tarball, needed] of [
    [tarballs.core, ["dist/index.js", "dist/index.d.ts", "dist/testing.js"]],
    [tarballs.nextjs, ["dist/index.js", "dist/client.js", "dist/index.d.ts", "dist/styles.css"]],
  ] as const) {
    const files = (await run("tar", ["-tzf", tarball])).stdout.trim().split("\n");
    for (const file of [...needed, "package.json", "README.md", "LICENSE"]) expect(files).toContain(`package/${file}`);
    expect(files.filter((file) => /test|\.built|tsconfig|src\//.test(file.replace("dist/testing", "")))).toEqual([]);
  }
});

test("the documented snippets type-check as they are written, strictly, with both module resolutions of TypeScript", async ({
  tarballs,
}) => {
  test.skip(!hasSource, "the source document is not here");
  const { core, middleware } = await snippets();
  const folder = await project(tarballs);
  await writeFile(path.join(folder, "core.ts"), core);
  await writeFile(path.join(folder, "proxy.ts"), middleware);
  // The part that the snippet leaves to the app.
  await writeFile(
    path.join(folder, "session.d.ts"),
    'declare function getSession(request: import("next/server.js").NextRequest): Promise<{ userId: string }>;',
  );
  await writeFile(
    path.join(folder, "rest.ts"),
    `import * as core from "@usequota/core";
     import * as nextjs from "@usequota/nextjs";
     import { signWebhook } from "@usequota/core/testing";
     export const content: string | null = (await new core.QuotaClient().createChatCompletion({ model: "m", messages: [] })).choices[0]!.message.content;
     export const balance: number = (await nextjs.requireQuotaUser()).balance;
     export const { GET, POST } = nextjs.createQuotaRouteHandlers();
     // @ts-expect-error: a message has a role
     await new core.QuotaClient().createChatCompletion({ model: "m", messages: [{ content: "x" }] });
     // @ts-expect-error: there is no such mode
     nextjs.createQuotaMiddleware({ storageMode: "elsewhere" });
     await signWebhook("{}", "whsec_");`,
  );
  for (const [module, moduleResolution] of [
    ["nodenext", "nodenext"],
    ["esnext", "bundler"],
  ]) {
    const compilerOptions = {
      target: "es2022",
      module,
      moduleResolution,
      strict: true,
      exactOptionalPropertyTypes: true,
      noUncheckedIndexedAccess: true,
    };
    await writeFile(
      path.join(folder, "tsconfig.json"),
      JSON.stringify({
        compilerOptions: { ...compilerOptions, noEmit: true, jsx: "react-jsx", types: ["node"], skipLibCheck: false },
        include: ["*.ts"],
      }),
    );
    const { stdout } = await run(process.execPath, [bin("typescript/bin/tsc"), "-p", folder]).catch((error: { stdout: string }) => error);
    // Errors in Next's own declarations do not count.
    expect(stdout.split("\n").filter((line) => line.includes("error TS") && !/node_modules\/(next|@types|react)/.test(line))).toEqual([]);
  }
});

test("the core snippet runs as it is written and bills the linked user", async ({ tarballs, postgresServer: server }) => {
  test.skip(!hasSource, "the source document is not here");
  const world = await arrange(server.db, { externalUserId: "user_123" });
  const folder = await project(tarballs);
  await writeFile(path.join(folder, "snippet.ts"), `${(await snippets()).core}\nconsole.log(JSON.stringify(response));\n`);
  const { stdout } = await run(process.execPath, [path.join(folder, "snippet.ts")], {
    cwd: folder,
    env: { PATH: process.env.PATH, QUOTA_API_URL: server.url, QUOTA_API_KEY: world.key.secret } as unknown as NodeJS.ProcessEnv,
  });
  const answer = JSON.parse(stdout);
  expect(answer).toMatchObject({ object: "chat.completion", quota: { billing_mode: "user", external_user_id: "user_123" } });
  expect(await world.balance()).toBe(1_000_000n - BigInt(answer.quota.credits_used));
});

for (const file of ["proxy.ts", "middleware.ts"]) {
  test(`the middleware snippet runs as it is written as ${file}: the code is exchanged, and the cookie works`, async ({
    tarballs,
    postgresServer: server,
  }) => {
    test.skip(!hasSource, "the source document is not here");
    test.setTimeout(180_000);
    const port = await freePort();
    const origin = `http://localhost:${port}`;
    const client = await makeClient(server.db, { redirectUris: [`${origin}/api/quota/callback`] });
    const person = await makePerson(server.db);
    const folder = await project(tarballs);
    await cp(path.join(root, "e2e/sdk/app"), path.join(folder, "app"), { recursive: true });
    await writeFile(path.join(folder, file), `import { getSession } from "./session";\n${(await snippets()).middleware}\n`);
    await writeFile(
      path.join(folder, "session.ts"),
      'export const getSession = async (request: Request) => ({ userId: request.headers.get("x-test-user") ?? "" });',
    );
    await writeFile(
      path.join(folder, "next.config.js"),
      `export default { typescript: { ignoreBuildErrors: true }, turbopack: { root: ${JSON.stringify(root)} } };`,
    );
    const env = {
      PATH: process.env.PATH,
      NODE_ENV: "production",
      NEXT_TELEMETRY_DISABLED: "1",
      QUOTA_API_URL: originOf(server),
      QUOTA_API_KEY: client.key,
      QUOTA_CLIENT_ID: client.clientId,
      QUOTA_CLIENT_SECRET: client.secret,
    } as unknown as NodeJS.ProcessEnv;
    // Peer dependencies are found in a parent folder, which the bundler may read.
    for (const name of ["next", "react", "react-dom"]) await rm(path.join(folder, "node_modules", name));
    await run(process.execPath, [bin("next/dist/bin/next"), "build"], { cwd: folder, env });
    const app = spawn(process.execPath, [bin("next/dist/bin/next"), "start", "--port", String(port)], { cwd: folder, env, stdio: "pipe" });
    try {
      await once(app.stdout, "data");
      await expect
        .poll(() =>
          fetch(origin).then(
            ({ status }) => status,
            () => 0,
          ),
        )
        .toBe(200);
      const asUser = (cookie = "") => ({ headers: { "x-test-user": "ada", cookie }, redirect: "manual" as const });
      const begun = await fetch(`${origin}/api/quota/authorize?return_to=/after`, asUser());
      expect(begun.status).toBe(303);
      const flow = begun.headers.getSetCookie().map((line) => line.split(";")[0]);
      const visitor = new Visitor(server);
      await visitor.signIn(person);
      const back = await visitor.decide(await visitor.begin(begun.headers.get("location") as string));
      const done = await fetch(back, asUser(flow.join("; ")));
      expect([done.status, new URL(done.headers.get("location") as string, origin).href]).toEqual([303, `${origin}/after`]);
      const cookie = done.headers.getSetCookie().find((line) => line.startsWith("external_user_id=")) as string;
      expect(cookie).toMatch(/^external_user_id=ada\..*; Path=\/; Max-Age=\d+; HttpOnly; SameSite=Lax$/);
      // getQuotaUser on a page reads the cookie; under another user's session the middleware removes it.
      const page = (user: string) => fetch(origin, { headers: { "x-test-user": user, cookie: cookie.split(";")[0] as string } });
      expect(await (await page("ada")).text()).toContain(`${person.email} has`);
      const others = await page("bob");
      expect(await others.text()).toContain("nobody");
      expect(others.headers.getSetCookie().join()).toContain("external_user_id=; Path=/; Max-Age=0");
    } finally {
      app.kill("SIGTERM");
      await once(app, "close");
    }
  });
}
