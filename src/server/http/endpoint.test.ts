import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { z } from "zod";
import { asDoor, endpoint, matchPath, preflight, toJson } from "./endpoint.ts";
import type { Incoming } from "./exchange.ts";
import { runInFairQueue } from "./fair-queue.ts";

describe("matchPath", () => {
  test("decodes any parameter to what was percent-encoded, slashes included", () => {
    fc.assert(
      fc.property(fc.string({ unit: "grapheme", minLength: 1 }), (id) => {
        expect(matchPath("/v1/users/{id}", `/v1/users/${encodeURIComponent(id)}`)).toEqual({ id });
        expect(matchPath("/v1/users/{id}/link", `/v1/users/${encodeURIComponent(id)}/link`)).toEqual({ id });
        expect(matchPath("/v1/models/{id...}", `/v1/models/${id.split("/").map(encodeURIComponent).join("/")}`)).toEqual({ id });
      }),
    );
  });

  test.each([
    ["/v1/users", "/v1/users", {}],
    ["/v1/users", "/v1/users/", null],
    ["/v1/users/{id}", "/v1/users", null],
    ["/v1/users/{id}", "/v1/users/", null],
    ["/v1/users/{id}", "/v1/users/a/b", null],
    ["/v1/users/{id}", "/v1/users/a%2Fb", { id: "a/b" }],
    ["/v1/users/{id}", "/v1/users/%ff", null],
    ["/v1/users/{id}", "/v1/users/%", null],
    ["/v1/users/{id}/link", "/v1/users/a/links", null],
    ["/v1/models/{id...}", "/v1/models/a/b", { id: "a/b" }],
    ["/v1/models/{id...}", "/v1/models/", null],
    ["/v1/models/{id...}", "/v1/models", null],
  ])("%s against %s", (template, path, expected) => {
    expect(matchPath(template, path)).toEqual(expected);
  });
});

test("bigints become JSON integers", () => {
  expect(toJson({ balance: 10n, list: [1n, { deep: -2n }], text: "3n" })).toBe('{"balance":10,"list":[1,{"deep":-2}],"text":"3n"}');
});

test("a large body is parsed in the fair queue, and a small one at once", async () => {
  const door = endpoint(
    { method: "POST", path: "/v1/a", public: true, summary: "", body: z.object({ a: z.string() }), response: z.string(), errors: [] },
    async ({ body }) => body.a.length,
  );
  const send = (length: number) => door(new Request("http://x/v1/a", { method: "POST", body: JSON.stringify({ a: "x".repeat(length) }) }));
  // The first blocks the event loop for so long that no other job begins before the requests are read.
  const busy = Array.from({ length: 33 }, (_, at) =>
    runInFairQueue("", () => {
      for (const until = performance.now() + (at === 0 ? 150 : 0); performance.now() < until; );
    }),
  );
  const [large, small] = await Promise.all([send(100_000), send(100)]);
  expect([large.status, (await large.json()).error.code]).toEqual([503, "overloaded"]);
  expect(await small.json()).toBe(100);
  await Promise.all(busy);
  expect(await (await send(100_000)).json()).toBe(100_000);
});

describe("asDoor", () => {
  test("gives a reply without a request id a new one, and keeps one that a reply has", async () => {
    const withoutId = asDoor(async () => ({ status: 200, headers: { "content-type": "text/plain" }, body: "x" }));
    const first = await withoutId(new Request("http://x/v1/a"));
    const second = await withoutId(new Request("http://x/v1/a"));
    expect(first.headers.get("x-request-id")).toMatch(/^req_[0-9a-f]{32}$/);
    expect(second.headers.get("x-request-id")).not.toBe(first.headers.get("x-request-id"));
    expect([first.headers.get("content-type"), first.headers.get("access-control-allow-origin")]).toEqual(["text/plain", "*"]);
    const withId = asDoor(async () => ({ status: 200, headers: { "x-request-id": "req_1" }, body: "x" }));
    expect((await withId(new Request("http://x/v1/a"))).headers.get("x-request-id")).toBe("req_1");
  });

  test("passes the path as it was sent, percent-encoded, and the query", async () => {
    let seen: Incoming | undefined;
    const door = asDoor(async (incoming) => {
      seen = incoming;
      return { status: 204, headers: {}, body: null };
    });
    await door(new Request("http://x/v1/users/a%2Fb%20c?x=1&y=%26", { method: "DELETE", headers: { "X-Quota-User": "me" } }));
    expect([seen?.method, seen?.path, seen?.query, seen?.header("x-quota-user"), seen?.header("authorization")]).toEqual([
      "DELETE",
      "/v1/users/a%2Fb%20c",
      "x=1&y=%26",
      "me",
      null,
    ]);
  });

  test("a preflight allows the headers that the page names, or the documented ones when it names none, and no credentials", async () => {
    const allowed = async (asked: string | null) => {
      const headers: Record<string, string> = asked === null ? {} : { "Access-Control-Request-Headers": asked };
      const response = await preflight(new Request("http://x/v1/a", { method: "OPTIONS", headers }));
      expect(response.status).toBe(204);
      expect(response.headers.get("access-control-allow-credentials")).toBeNull();
      expect(response.headers.get("vary")).toBe("Access-Control-Request-Headers");
      return response.headers.get("access-control-allow-headers");
    };
    const documented = "Authorization, X-API-Key, X-Quota-User, Content-Type, Idempotency-Key";
    expect(await allowed(null)).toBe(documented);
    expect(await allowed("authorization,x-stainless-lang, anthropic-beta")).toBe("authorization,x-stainless-lang, anthropic-beta");
    // A value that is not a list of header names, or is too long, is not reflected.
    for (const asked of ["<script>", "a b", "a,,b", "", `x${"y".repeat(5_000)}`]) expect(await allowed(asked)).toBe(documented);
  });
});
