import { spawn } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { sdkMarkdown, sdkReference } from "../../docs/sdk-reference.ts";
import { type Fence, readFence } from "../../src/app/docs/_content/code.ts";
import { signatureHeaders } from "../../src/server/webhooks/sign.ts";
import type { ServerProcess } from "../../src/testing/server-process.ts";
import { expect, type PostgresServer, test } from "../fixtures.ts";
import { installAsWritten } from "../install.ts";
import { codeFor, makePerson, originOf, redeem } from "../oauth.ts";

/**
 * Every snippet of the documentation runs here as a reader would copy it, against the built server:
 * shell through bash, JavaScript through node. Words after a fence's language are instructions:
 *
 * - `answer`: the JSON answer of the snippet before; its fields and their types have to match.
 * - `status=402`: the snippet gets this status; by default a success.
 * - `setup`: sets up what the test has set up already; not run.
 * - `app`: a file of an app, run by nextjs.spec.ts.
 * - `verify`: checks a webhook's signature, in one of five languages.
 * - `skip="why"`: not run, for this reason; another test covers it.
 */
const root = fileURLToPath(new URL("../../", import.meta.url));
const folder = path.join(root, "docs/site");
const RUN = new Set(["sh", "js", "ts", "python", "go", "ruby", "php"]);

/** What the pages say to install from npm. */
const CLIENTS = [
  "openai",
  "@anthropic-ai/sdk",
  "ai",
  "@ai-sdk/openai",
  "@ai-sdk/anthropic",
  "@ai-sdk/openai-compatible",
  "@langchain/openai",
  "@langchain/anthropic",
  "@openai/agents",
];

type Snippet = Fence & { text: string; line: number; status: number; answer: boolean; example: unknown };

for (const file of readdirSync(folder).filter((name) => name.endsWith(".md"))) {
  const snippets = snippetsOf(readFileSync(path.join(folder, file), "utf8"));
  const run = snippets.filter(
    ({ language, setup, app, verify, skip }) => RUN.has(language) && !setup && !app && !verify && skip === undefined,
  );
  for (const { skip, line } of snippets)
    if (skip !== undefined)
      test(`${file}:${line} is not run: ${skip}`, () => {
        console.log(`${file}:${line} is not run: ${skip}`);
        test.skip(true, skip);
      });
  if (run.length === 0) continue;
  const name = `the snippets of ${file} do what they say`;
  // Buying credits needs the sandbox checkout, which is closed where a provider is configured.
  if (file === "credits.md") test(name, ({ simulatedServer }) => read(simulatedServer, demoEnvironment(simulatedServer)));
  else test(name, async ({ postgresServer }) => read(postgresServer, await readersEnvironment(postgresServer, file)));

  async function read(server: ServerProcess, env: Record<string, string>): Promise<void> {
    test.setTimeout(120_000);
    const published = await (await fetch(`${server.url}/docs/${file}`)).text();
    const place = await mkdtemp(path.join(tmpdir(), "quota-snippets-"));
    try {
      if (run.some(({ text }) => text.includes('"@usequota/core"')))
        await installAsWritten(readFileSync(path.join(folder, "sdk.md"), "utf8"), place);
      // The state after `npm install`.
      for (const name of CLIENTS) {
        await mkdir(path.dirname(path.join(place, "node_modules", name)), { recursive: true });
        await symlink(path.join(root, "node_modules", name), path.join(place, "node_modules", name), "junction");
      }
      for (const snippet of run) {
        await test.step(`line ${snippet.line}`, async () => {
          const text = snippet.text.replaceAll("http://localhost:3000", originOf(server));
          expect(published, "the page has what is run here").toContain(text);
          const { code, output, errors } = await execute(snippet.language, text, place, env);
          const what = `${file}:${snippet.line}\n${text}\n→ ${output}\n${errors}`;
          expect(code, what).toBe(0);
          expect(statusOf(output), what).toBe(snippet.status);
          if (snippet.example !== undefined) expectAlike(snippet.example, JSON.parse(output), what);
        });
      }
    } finally {
      await rm(place, { recursive: true, force: true });
    }
  }
}

/** How to run each language, and a program around the page's function that prints whether it accepts a delivery. */
const LANGUAGES: Record<
  string,
  { command: string[]; version: string; file: string; program: string; source: string; more?: Record<string, string> }
> = {
  js: {
    command: [process.execPath, "program.mjs"],
    version: "--version",
    file: "check.mjs",
    program: "program.mjs",
    source: `import { isFromQuota } from "./check.mjs";
console.log(isFromQuota(process.env.BODY, process.env.SIGNATURE, process.env.SECRET));`,
  },
  python: {
    command: ["python3", "program.py"],
    version: "--version",
    file: "check.py",
    program: "program.py",
    source: `import os
from check import is_from_quota
print(str(is_from_quota(os.environ["BODY"].encode(), os.environ["SIGNATURE"], os.environ["SECRET"])).lower())`,
  },
  go: {
    command: ["go", "run", "."],
    version: "version",
    file: "check.go",
    program: "main.go",
    source: `package main

import (
	"fmt"
	"os"
)

func main() {
	fmt.Println(isFromQuota([]byte(os.Getenv("BODY")), os.Getenv("SIGNATURE"), os.Getenv("SECRET")))
}`,
    more: { "go.mod": "module check\n\ngo 1.20\n" },
  },
  ruby: {
    command: ["ruby", "program.rb"],
    version: "--version",
    file: "check.rb",
    program: "program.rb",
    source: `require_relative "check"
puts from_quota?(ENV["BODY"], ENV["SIGNATURE"], ENV["SECRET"])`,
  },
  php: {
    command: ["php", "program.php"],
    version: "--version",
    file: "check.php",
    program: "program.php",
    source: `<?php
require "check.php";
echo is_from_quota(getenv("BODY"), getenv("SIGNATURE"), getenv("SECRET")) ? "true" : "false";`,
  },
};

test.describe("a webhook's signature", () => {
  const page = readFileSync(path.join(folder, "webhooks.md"), "utf8");
  const reference = (row: string) => new RegExp(`^\\| ${row} \\| \\\`(.+)\\\` \\|$`, "m").exec(page)?.[1] as string;
  const secret = reference("Secret");
  const body = reference("Body");
  const signature = reference("Signature");

  test("the page's reference values are the server's signatures", () => {
    const headers = signatureHeaders([secret], { id: "evt_1", timestampSeconds: 0, body });
    expect(headers["x-quota-signature"]).toBe(signature);
  });

  const checks = snippetsOf(page).filter(({ verify }) => verify);
  test("is checked in five languages", () => {
    expect(checks.map(({ language }) => language)).toEqual(Object.keys(LANGUAGES));
  });

  for (const { language, text } of checks) {
    const how = LANGUAGES[language];
    if (how === undefined) continue;
    const [command = "", ...args] = how.command;
    test(`is checked by the ${language} of the page`, async () => {
      const there = await run(command, [how.version], tmpdir(), {}).catch(() => null);
      const missing = `${language} of webhooks.md was not run: there is no ${command} on this machine. That the page's reference signature is right is tested.`;
      if (there?.code !== 0) console.log(missing);
      test.skip(there?.code !== 0, missing);
      const place = await mkdtemp(path.join(tmpdir(), "quota-check-"));
      try {
        await writeFile(path.join(place, how.file), text);
        await writeFile(path.join(place, how.program), how.source);
        for (const [name, content] of Object.entries(how.more ?? {})) await writeFile(path.join(place, name), content);
        const accepts = async (over: Record<string, string>) =>
          (await run(command, args, place, { BODY: body, SIGNATURE: signature, SECRET: secret, ...over })).output.trim();
        expect(await accepts({})).toBe("true");
        expect(await accepts({ BODY: body.replace("99980", "99981") })).toBe("false");
        expect(await accepts({ SECRET: `${secret}x` })).toBe("false");
        expect(await accepts({ SIGNATURE: "" })).toBe("false");
        expect(await accepts({ SIGNATURE: signature.slice(2) })).toBe("false");
      } finally {
        await rm(place, { recursive: true, force: true });
      }
    });
  }
});

test("the SDK reference is generated from the packages' doc comments", async () => {
  // `npm run sdk:reference` writes it.
  expect(readFileSync(sdkReference, "utf8")).toBe(sdkMarkdown());
});

test("the test above reads every page, and a page's Markdown has the text of its HTML", async ({ postgresServer }) => {
  const { slugs } = await import("../../src/app/docs/_content/book.ts");
  expect((await readdir(folder)).sort()).toEqual(slugs.map((slug) => `${slug}.md`).sort());
  const list = await (await fetch(`${postgresServer.url}/llms.txt`)).text();
  for (const slug of slugs) {
    const response = await fetch(`${postgresServer.url}/docs/${slug}.md`);
    const text = await response.text();
    expect([response.status, response.headers.get("content-type")]).toEqual([200, "text/markdown; charset=utf-8"]);
    expect(list).toContain(`/docs/${slug}.md`);
    const title = (await readFile(path.join(folder, `${slug}.md`), "utf8")).split("\n", 1)[0];
    expect(text.startsWith(`${title}\n`)).toBe(true);
    expect(text, "nothing was left to be filled in, and nothing for the tests is shown").not.toMatch(
      /<!-- generated|^```\w+ .*(setup|skip|answer|status)/m,
    );
  }
});

function snippetsOf(markdown: string): Snippet[] {
  const snippets: Snippet[] = [];
  for (const match of markdown.matchAll(/^```(\S+.*)\n([\s\S]*?)^```$/gm)) {
    const [, info = "", text = ""] = match;
    const fence = readFence(info);
    if (fence.answer) {
      (snippets.at(-1) as Snippet).example = JSON.parse(text);
      continue;
    }
    const status = Number(/(?:^| )status=(\d+)/.exec(info)?.[1] ?? 200);
    const line = markdown.slice(0, match.index).split("\n").length + 1;
    snippets.push({ ...fence, text: text.trimEnd(), line, status, example: undefined });
  }
  return snippets;
}

/** The environment of a reader at a page: keys, a linked user, and for some pages a code or tokens. */
async function readersEnvironment(server: PostgresServer, file: string): Promise<Record<string, string>> {
  const { demo, db } = server;
  const app = await db.prisma.app.findUniqueOrThrow({ where: { clientId: demo.app.client_id } });
  const redirectUri = demo.app.redirect_uris[0] as string;
  const client = { appId: app.id, clientId: demo.app.client_id, secret: demo.app.client_secret, redirectUri, key: demo.api_keys.developer };
  const person = await makePerson(db);
  const env = demoEnvironment(server);
  const hosted = file === "connect-wallet.md";
  if (hosted || file === "tokens.md") {
    const authorize = hosted ? { storage_mode: "hosted", external_user_id: "user_456" } : {};
    const { code, verifier } = await codeFor(server, person, client, { authorize });
    Object.assign(env, { CODE: code, VERIFIER: verifier });
  }
  if (file === "tokens.md") {
    const other = await codeFor(server, await makePerson(db), client);
    const { json } = await redeem(server, client, other);
    Object.assign(env, { ACCESS_TOKEN: json.access_token, REFRESH_TOKEN: json.refresh_token });
  }
  return env;
}

/** The keys and the OAuth client of the demo app. */
function demoEnvironment(server: ServerProcess): Record<string, string> {
  const { app, api_keys } = server.demo;
  return {
    QUOTA_API_KEY: api_keys.developer,
    QUOTA_TEST_KEY: api_keys.test,
    QUOTA_API_URL: originOf(server),
    QUOTA_CLIENT_ID: app.client_id,
    QUOTA_CLIENT_SECRET: app.client_secret,
    REDIRECT_URI: app.redirect_uris[0] as string,
  };
}

type Ended = { code: number | null; output: string; errors: string };

async function execute(language: string, text: string, place: string, env: Record<string, string>): Promise<Ended> {
  if (language === "sh") return run("bash", ["-euo", "pipefail", "-c", text], place, env);
  const file = path.join(place, `snippet-${crypto.randomUUID()}.${language === "ts" ? "ts" : "mjs"}`);
  await writeFile(file, text);
  return run(process.execPath, [file], place, env);
}

function run(command: string, args: string[], cwd: string, env: Record<string, string>): Promise<Ended> {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, {
      cwd,
      env: { PATH: process.env.PATH, HOME: cwd, ...env } as unknown as NodeJS.ProcessEnv,
      timeout: 30_000,
    });
    let output = "";
    let errors = "";
    child.stdout.setEncoding("utf8").on("data", (text: string) => {
      output += text;
    });
    child.stderr.setEncoding("utf8").on("data", (text: string) => {
      errors += text;
    });
    child.once("error", reject);
    child.once("close", (code) => resolve({ code, output, errors }));
  });
}

/** The status of an answer of /v1 from its body; curl succeeds for any status. */
function statusOf(output: string): number {
  const head = /^HTTP\/1\.1 (\d+)/.exec(output);
  if (head !== null) return Number(head[1]);
  try {
    const { error } = JSON.parse(output) as { error?: { code: string } | string };
    if (error === undefined) return 200;
    if (typeof error === "string") return 400;
    return statusByCode[error.code] ?? 500;
  } catch {
    return 200;
  }
}

const statusByCode: Record<string, number> = {};
for (const [code, row] of Object.entries((await import("../../src/server/platform/errors.ts")).errorTable)) statusByCode[code] = row.status;
statusByCode.rate_limit_exceeded = 429;

/** Expects the same fields of the same types in two values; texts and numbers may differ. */
function expectAlike(example: unknown, value: unknown, what: string): void {
  expect(shape(value), what).toEqual(shape(example));
}

function shape(value: unknown): unknown {
  if (Array.isArray(value)) return value.slice(0, 1).map(shape);
  if (value !== null && typeof value === "object")
    return Object.fromEntries(
      Object.entries(value)
        .map(([name, inner]) => [name, shape(inner)])
        .sort(),
    );
  return value === null ? null : typeof value;
}
