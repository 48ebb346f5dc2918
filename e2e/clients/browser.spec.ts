import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";
import { makeToken } from "../../src/testing/makers.ts";
import { expect, test } from "../fixtures.ts";
import { arrange } from "../world.ts";

type InPage = { ask(client: "openai" | "anthropic", origin: string, token: string): Promise<unknown> };

/** Serves a page on another origin than Quota's, whose script contains both clients. */
async function startApp() {
  const { outputFiles } = await build({
    stdin: {
      contents: `
        import Anthropic from "@anthropic-ai/sdk";
        import OpenAI from "openai";
        globalThis.ask = async (client, origin, token) => {
          if (client === "openai") {
            const openai = new OpenAI({ apiKey: token, baseURL: origin + "/v1", dangerouslyAllowBrowser: true, maxRetries: 0 });
            const models = await openai.models.list();
            const answer = await openai.chat.completions.create({ model: "gpt-4o-mini", messages: [{ role: "user", content: "Hi" }] });
            let streamed = "";
            let quota;
            const stream = await openai.chat.completions.create({ model: "gpt-4o-mini", messages: [{ role: "user", content: "Hi" }], stream: true });
            for await (const chunk of stream) {
              streamed += chunk.choices[0].delta.content ?? "";
              quota = chunk.quota ?? quota;
            }
            const error = await openai.chat.completions.create({ model: "none", messages: [{ role: "user", content: "Hi" }] }).catch((reason) => reason);
            return { models: models.data.length, text: answer.choices[0].message.content, id: answer._request_id, streamed, quota, status: error.status };
          }
          const anthropic = new Anthropic({ authToken: token, apiKey: null, baseURL: origin, dangerouslyAllowBrowser: true, maxRetries: 0 });
          const ask = (model) => ({ model, max_tokens: 100, messages: [{ role: "user", content: "Hi" }] });
          const answer = await anthropic.messages.create(ask("claude-haiku-4-5"));
          const stream = anthropic.messages.stream(ask("claude-haiku-4-5"));
          let quota;
          stream.on("streamEvent", (event) => { quota = event.quota ?? quota; });
          const whole = await stream.finalMessage();
          const error = await anthropic.messages.create(ask("none")).catch((reason) => reason);
          return { text: answer.content[0].text, streamed: whole.content[0].text, quota, status: error.status };
        };`,
      resolveDir: fileURLToPath(new URL(".", import.meta.url)),
    },
    bundle: true,
    format: "iife",
    platform: "browser",
    target: "es2022",
    write: false,
  });
  const script = outputFiles[0]?.text ?? "";
  const app = createServer((request, response) => {
    const isScript = request.url === "/app.js";
    response.setHeader("content-type", isScript ? "text/javascript" : "text/html");
    response.end(isScript ? script : '<!doctype html><title>App</title><script src="/app.js"></script>');
  });
  await new Promise<void>((resolve) => app.listen(0, "127.0.0.1", resolve));
  return {
    url: `http://127.0.0.1:${(app.address() as AddressInfo).port}/`,
    close() {
      app.closeAllConnections();
      app.close();
    },
  };
}

test("openai and @anthropic-ai/sdk work in a page of another origin with a user's access token", async ({
  page,
  postgresServer: server,
}) => {
  const world = await arrange(server.db);
  const { token } = await makeToken(server.db, world.link);
  const app = await startApp();
  try {
    await page.goto(app.url);
    const ask = (client: "openai" | "anthropic") =>
      page.evaluate(([name, origin, secret]) => (globalThis as unknown as InPage).ask(name, origin, secret), [
        client,
        server.url,
        token,
      ] as const);
    expect(await ask("openai")).toMatchObject({
      models: expect.any(Number),
      text: "Hello there.",
      streamed: "Hello there.",
      id: expect.stringMatching(/^req_/),
      quota: { credits_used: expect.any(Number) },
      status: 404,
    });
    expect(await ask("anthropic")).toMatchObject({
      text: "Hello there.",
      streamed: "Hello there.",
      quota: { credits_used: expect.any(Number) },
      status: 404,
    });
  } finally {
    app.close();
  }
});
