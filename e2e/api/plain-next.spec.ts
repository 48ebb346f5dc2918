import { type ChildProcess, spawn } from "node:child_process";
import { fileURLToPath } from "node:url";
import { gate } from "../../src/testing/fake-upstream.ts";
import { freePort } from "../../src/testing/postgres.ts";
import { completion, completionChunks, event, events, sse, usage } from "../../src/testing/upstream-answers.ts";
import { call, chat, marker, send } from "../client.ts";
import { expect, test } from "../fixtures.ts";
import { codeFor, makeClient, makePerson, redeem } from "../oauth.ts";
import { arrange, price, settled } from "../world.ts";

const path = "/v1/chat/completions";
const root = fileURLToPath(new URL("../../", import.meta.url));

test("the doors of /v1 and OAuth work in the same way under plain `next start`: JSON, stream, errors, hanging up, from a link to a token", async ({
  ownDatabase,
  upstream,
}) => {
  const { url, db } = ownDatabase;
  const world = await arrange(db);
  const port = await freePort();
  const server = { url: `http://127.0.0.1:${port}` };
  const child = spawn(process.execPath, [`${root}node_modules/next/dist/bin/next`, "start", "-H", "127.0.0.1", "-p", String(port)], {
    cwd: root,
    stdio: "ignore",
    env: {
      PATH: process.env.PATH,
      NODE_ENV: "production",
      NEXT_TELEMETRY_DISABLED: "1",
      DATABASE_URL: url,
      QUOTA_URL: server.url,
      OPENAI_API_KEY: upstream.key,
      OPENAI_BASE_URL: upstream.url,
    },
  });
  try {
    await expect
      .poll(
        () =>
          fetch(`${server.url}/v1/models`).then(
            ({ status }) => status,
            () => 0,
          ),
        { timeout: 60_000 },
      )
      .toBe(200);

    const text = marker();
    using _json = upstream.on(text, completion({ usage: usage(10, 5) }));
    const answer = await call(server, path, { ...world.as, body: chat(text) });
    expect([answer.status, answer.json.quota?.credits_used]).toEqual([200, Number(price(10, 5))]);

    const streamed = marker();
    using _stream = upstream.on(streamed, sse(completionChunks(["Hello"], { usage: usage(10, 5) })));
    const stream = await call(server, path, { ...world.as, body: chat(streamed, { stream: true }) });
    expect(stream.text).toContain(`"credits_used":${price(10, 5)}`);
    expect(stream.text.endsWith("data: [DONE]\n\n")).toBe(true);

    expect((await call(server, path, { key: world.as.key, user: "nobody", body: chat("hi") })).status).toBe(404);
    expect((await call(server, `/v1/users/${encodeURIComponent(world.as.user)}`, { key: world.as.key })).json.user.balance).toBe(
      1_000_000 - 2 * Number(price(10, 5)),
    );

    const person = await makePerson(db);
    const client = await makeClient(db);
    const issued = await codeFor(server, person, client, { authorize: { scope: "credits.read" } });
    const tokens = await redeem(server, client, issued);
    expect([tokens.status, tokens.json.scope, tokens.headers.get("cache-control")]).toEqual([200, "credits.read", "no-store"]);
    const metadata = await (await fetch(`${server.url}/.well-known/oauth-authorization-server`)).json();
    expect(metadata.token_endpoint).toBe(`${server.url}/oauth/token`);

    const left = marker();
    const never = gate();
    using seen = upstream.on(
      left,
      events(
        (async function* () {
          yield event(completionChunks(["Hello"])[1]);
          await never.opened;
        })(),
      ),
    );
    const hangUp = new AbortController();
    const response = await send(server, path, { ...world.as, body: chat(left, { stream: true }), signal: hangUp.signal });
    await (response.body as ReadableStream<Uint8Array>).getReader().read();
    hangUp.abort();
    expect(await (await seen.next()).ended).toBe("aborted");
    await settled(db, world);
    expect((await world.usage()).at(-1)).toMatchObject({ outcome: "interrupted", countedBy: "tokenizer" });
  } finally {
    await ended(child);
  }
});

function ended(child: ChildProcess): Promise<void> {
  return new Promise((resolve) => {
    child.once("exit", () => resolve());
    child.kill("SIGKILL");
  });
}
