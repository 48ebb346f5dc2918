import type { AddressInfo } from "node:net";
import { expect, test } from "vitest";
import { env } from "#env";
import { asTheDatabase, withDatabase } from "../../testing/database.ts";
import { makeApp, makeKey } from "../../testing/makers.ts";
import type { Door } from "../http/endpoint.ts";
import { newId, shownId } from "../platform/ids.ts";
import { createQuotaServer } from "./listen.ts";
import { loadRoutes } from "./routes.ts";

const db = withDatabase("embedded");
asTheDatabase(db);

/** Every method of every door of /v1, with a path that matches it. */
async function doors(): Promise<{ name: string; path: string; door: Door; template: string }[]> {
  const { readdir } = await import("node:fs/promises");
  const routes = await loadRoutes();
  const root = new URL("../../app/v1/", import.meta.url);
  const folders = (await readdir(root, { recursive: true }))
    .filter((file) => file.endsWith("route.ts"))
    .map((file) => file.replace(/\/?route\.ts$/, ""));
  return folders.flatMap((folder) => {
    const template = `/v1/${folder}`;
    const webhook = shownId("whk", newId());
    const path = template
      .replace("[...id]", "no-such-model")
      .replace("[external_user_id]", "nobody")
      .replace("[delivery_id]", shownId("dlv", newId()))
      .replace("[id]", webhook);
    const methods = routes.find(path);
    if (methods === null) throw new Error(`nothing at ${path}`);
    return [...methods]
      .filter(([method]) => method !== "OPTIONS")
      .map(([method, door]) => ({ name: `${method} ${template}`, path, door, template }));
  });
}

test("every answer of /v1 has no-store and nosniff: doors, errors, preflights, unknown paths", async () => {
  const app = await makeApp(db());
  const key = await makeKey(db(), app.id);
  const server = createQuotaServer(await loadRoutes(), { handle: async (_incoming, outgoing) => void outgoing.end() });
  await new Promise<void>((resolve) => void server.listen(0, "127.0.0.1", resolve));
  try {
    const { port } = server.address() as AddressInfo;
    const asked = [
      ...(await doors()).map(({ name, path }) => [name.split(" ")[0] as string, path]),
      ["OPTIONS", "/v1/me"],
      ["GET", "/v1/nothing"],
      ["PUT", "/v1/me"],
    ];
    for (const authorization of [`Bearer ${key.secret}`, "Bearer wrong"]) {
      for (const [method = "", path = ""] of asked) {
        const answer = await fetch(`http://127.0.0.1:${port}${path}`, {
          method,
          headers: { authorization, "content-type": "application/json" },
          ...(method === "POST" || method === "PATCH" ? { body: "{}" } : {}),
        });
        await answer.arrayBuffer();
        const { headers } = answer;
        expect([method, path, headers.get("cache-control"), headers.get("x-content-type-options")]).toEqual([
          method,
          path,
          "no-store",
          "nosniff",
        ]);
        expect(headers.has("strict-transport-security")).toBe(false);
      }
    }
  } finally {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  }
});

test("when QUOTA_URL is https, every answer has HSTS: doors, pages, health", async () => {
  const { QUOTA_URL } = env;
  Object.assign(env, { QUOTA_URL: "https://quota.example" });
  const server = createQuotaServer(await loadRoutes(), {
    handle: async (_incoming, outgoing) => void outgoing.writeHead(200, { "content-type": "text/html" }).end(),
  });
  await new Promise<void>((resolve) => void server.listen(0, "127.0.0.1", resolve));
  try {
    const { port } = server.address() as AddressInfo;
    for (const path of ["/v1/me", "/v1/models", "/v1/nothing", "/healthz", "/", "/docs", "/_next/static/x.js"]) {
      const answer = await fetch(`http://127.0.0.1:${port}${path}`);
      await answer.arrayBuffer();
      expect([path, answer.headers.get("strict-transport-security")]).toEqual([path, "max-age=31536000"]);
    }
  } finally {
    Object.assign(env, { QUOTA_URL });
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  }
});

test("a 404 names what is missing: a linked user only under a path with an external user id, a webhook only under /webhooks", async () => {
  const app = await makeApp(db());
  const key = await makeKey(db(), app.id);
  const told: string[] = [];
  for (const { name, path, door, template } of await doors()) {
    if (!template.includes("[")) continue;
    const [method = ""] = name.split(" ");
    const answer = await door(
      new Request(`http://localhost:3000${path}`, {
        method,
        headers: { authorization: `Bearer ${key.secret}`, "content-type": "application/json" },
        ...(method === "POST" || method === "PATCH" ? { body: "{}" } : {}),
      }),
    );
    const { error } = (await answer.json()) as { error: { code: string; message: string; hint?: string } };
    expect([name, answer.status]).toEqual([name, 404]);
    const words = `${error.message} ${error.hint ?? ""}`;
    expect(/linked user|person|wallet/i.test(words), `${name}: ${words}`).toBe(template.includes("[external_user_id]"));
    expect(/webhook/i.test(words), `${name}: ${words}`).toBe(template.includes("/webhooks/"));
    told.push(name);
  }
  expect(told.length).toBeGreaterThan(8);
});
