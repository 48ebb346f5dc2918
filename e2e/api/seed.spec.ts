import { execFile } from "node:child_process";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { promisify } from "node:util";
import type { ServerProcess } from "../../src/testing/server-process.ts";
import { call, eventsOf } from "../client.ts";
import { expect, test } from "../fixtures.ts";

/** The commands that the server prints, each whole. */
function printedCommands(server: ServerProcess): string[] {
  const commands: string[] = [];
  let command: string[] = [];
  for (const line of server.output().stdout.split("\n")) {
    if (command.length === 0 && !line.startsWith("curl ")) continue;
    command.push(line);
    const text = command.join("\n");
    // A command continues after a backslash and within quotes.
    if (line.endsWith("\\") || (text.match(/'/g)?.length ?? 0) % 2 === 1) continue;
    commands.push(text);
    command = [];
  }
  return commands;
}

/** Runs a command in a shell. Further options of curl are in a settings file of the test. */
async function paste(command: string): Promise<{ status: number; headers: Map<string, string>; text: string }> {
  const home = await mkdtemp(path.join(tmpdir(), "quota-curl-"));
  try {
    const head = path.join(home, "head");
    await writeFile(path.join(home, ".curlrc"), `silent\nshow-error\ndump-header = "${head}"\nmax-time = 30\n`);
    const { stdout } = await promisify(execFile)("sh", ["-c", command], {
      env: { PATH: process.env.PATH, CURL_HOME: home, HOME: home } as unknown as NodeJS.ProcessEnv,
    });
    const [first = "", ...lines] = (await readFile(head, "utf8")).trim().split("\r\n");
    const headers = new Map(lines.map((line) => line.split(/: ?(.*)/s, 2)).map(([name = "", value = ""]) => [name.toLowerCase(), value]));
    return { status: Number(first.split(" ")[1]), headers, text: stdout };
  } finally {
    await rm(home, { recursive: true, force: true });
  }
}

test("the printed curl commands run unchanged and do what the text says", async ({ start }) => {
  const server = await start();
  const commands = printedCommands(server);
  expect(commands).toHaveLength(4);
  const [complete = "", stream = "", lookUp = "", unlink = ""] = commands;
  const { user, api_keys } = server.demo;

  await test.step("a completion is billed to the linked user", async () => {
    expect(complete).toContain(`-H "X-Quota-User: ${user.external_user_id}"`);
    const answer = await paste(complete);
    expect([answer.status, answer.headers.get("x-quota-simulated")]).toEqual([200, "true"]);
    const body = JSON.parse(answer.text);
    expect(body).toMatchObject({
      object: "chat.completion",
      choices: [{ message: { role: "assistant" }, finish_reason: "stop" }],
      quota: { billing_mode: "user", external_user_id: "user_123" },
    });
    expect(body.quota.credits_used).toBeGreaterThan(0);
    expect(body.quota.balance_after).toBe(10_000_000 - body.quota.credits_used);
    expect(body.usage.total_tokens).toBe(body.usage.prompt_tokens + body.usage.completion_tokens);
  });

  await test.step("a stream is billed to the linked user", async () => {
    const answer = await paste(stream);
    expect([answer.status, answer.headers.get("x-quota-simulated")]).toEqual([200, "true"]);
    const events = eventsOf(answer.text);
    expect(events.at(-1)).toBe("[DONE]");
    expect(events.at(-2)).toMatchObject({ choices: [{ finish_reason: "stop" }], quota: { billing_mode: "user" } });
  });

  await test.step("the linked user is looked up", async () => {
    const answer = await paste(lookUp);
    const body = JSON.parse(answer.text);
    expect(answer.status).toBe(200);
    expect(body).toMatchObject({ user: { email: user.email }, limit: 5_000_000 });
    expect(Object.keys(body.user)).toEqual(["id", "email", "balance"]);
    expect(body.user.balance).toBe(10_000_000 - body.spent);
    expect(new Date(body.linked_at).toISOString()).toBe(body.linked_at);
  });

  await test.step("a wrong key is 401", async () => {
    for (const command of commands) {
      const answer = await paste(command.replace(api_keys.developer, `sk-quota-${"x".repeat(32)}`));
      expect([answer.status, JSON.parse(answer.text).error.code]).toEqual([401, "invalid_api_key"]);
    }
  });

  await test.step("an empty wallet is 402", async () => {
    const answer = await paste(
      complete.replace(api_keys.developer, api_keys.test).replace("X-Quota-User: user_123", "X-Quota-User: sandbox_empty"),
    );
    expect([answer.status, JSON.parse(answer.text).error.code]).toEqual([402, "insufficient_credits"]);
  });

  await test.step("unlinking answers as the printed text says, and later requests for the user are 404", async () => {
    const answer = await paste(unlink);
    expect([answer.status, answer.text]).toEqual([200, '{"success":true}']);
    for (const command of commands) {
      const after = await paste(command);
      expect([after.status, JSON.parse(after.text).error.code]).toEqual([404, "not_found"]);
    }
  });
});

test("the next start finds the demo data, links the user again, with unchanged balances and keys", async ({ start }) => {
  const first = await start();
  const as = { key: first.demo.api_keys.developer, user: first.demo.user.external_user_id };
  const bought = await call(first, "/v1/chat/completions", {
    ...as,
    body: { model: "gpt-4o-mini", messages: [{ role: "user", content: "Hello!" }] },
  });
  await call(first, `/v1/users/${as.user}/link`, { key: as.key, method: "DELETE" });
  await first.stop();

  const second = await start({ dataDir: first.dataDir });
  expect({ ...second.demo, base_url: "" }).toEqual({ ...first.demo, base_url: "" });
  const balance = await call(second, "/v1/balance", as);
  expect(balance.json).toMatchObject({ wallet: "linked_user", balance: bought.json.quota.balance_after });
});

test("two servers cannot open one embedded database", async ({ start }) => {
  const first = await start();
  await expect(start({ dataDir: first.dataDir })).rejects.toThrow(/in use by process/);
  expect((await call(first, "/v1/models")).status).toBe(200);
});
