import { NextRequest } from "next/server.js";
import { afterEach, expect, test, vi } from "vitest";
import { createQuotaMiddleware } from "../src/middleware.ts";
import { createQuotaRouteHandlers } from "../src/route-handlers.ts";

afterEach(() => {
  vi.unstubAllEnvs();
});

const config = { clientId: "quota_client_x", clientSecret: "quota_secret_y", apiKey: "sk-quota-z", baseUrl: "https://quota.example" };

function post(headers: Record<string, string>, appUrl?: string) {
  const { POST } = createQuotaRouteHandlers({ ...config, appUrl });
  return POST(new NextRequest("https://internal:8080/api/quota/logout", { method: "POST", headers })).then(({ status }) => status);
}

test.each([
  [
    "on a preview deployment, under another host than appUrl",
    { "sec-fetch-site": "same-origin", host: "preview-7.example", origin: "https://preview-7.example" },
  ],
  [
    "on a preview deployment, where the proxy names itself",
    { "sec-fetch-site": "same-origin", host: "10.0.0.7", origin: "https://preview-7.example" },
  ],
  ["at appUrl", { "sec-fetch-site": "same-origin", host: "acme.example", origin: "https://acme.example" }],
  ["at appUrl, without the header", { host: "10.0.0.7", origin: "https://acme.example" }],
  ["on a preview deployment, without the header", { host: "preview-7.example", origin: "https://preview-7.example" }],
  [
    "on a preview deployment, without the header, behind a proxy",
    { host: "10.0.0.7", "x-forwarded-host": "preview-7.example", "x-forwarded-proto": "https", origin: "https://preview-7.example" },
  ],
])("a page of the app may post: %s", async (_, headers) => {
  expect(await post(headers, "https://acme.example")).toBe(200);
});

test.each([
  ["another site", { "sec-fetch-site": "cross-site", host: "acme.example", origin: "https://evil.example" }],
  ["another site that claims the app's origin", { "sec-fetch-site": "cross-site", host: "acme.example", origin: "https://acme.example" }],
  ["a sibling of the app's host", { "sec-fetch-site": "same-site", host: "acme.example", origin: "https://blog.acme.example" }],
  ["no page at all", { "sec-fetch-site": "none", host: "acme.example" }],
  ["another site, in a browser without the header", { host: "acme.example", origin: "https://evil.example" }],
  ["the same host over plain http, in a browser without the header", { host: "acme.example", origin: "http://acme.example" }],
  ["a page without an origin", { host: "acme.example", origin: "null" }],
  ["a program that says nothing", { host: "acme.example" }],
])("other pages and programs may not post: %s", async (_, headers) => {
  expect(await post(headers, "https://acme.example")).toBe(403);
});

test("with Next's basePath, endpoints, redirect URI, cookies and every redirect are below it", async () => {
  vi.stubEnv("__NEXT_ROUTER_BASEPATH", "/shop");
  const middleware = createQuotaMiddleware({
    ...config,
    signInPath: "/sign-in",
    getExternalUserId: (request) => request.headers.get("x-user"),
  });
  const visit = (path: string, user?: string, cookie = "") =>
    middleware(
      new NextRequest(`https://acme.example${path}`, {
        headers: { host: "acme.example", cookie, ...(user === undefined ? {} : { "x-user": user }) },
      }),
    );

  const begun = await visit("/shop/api/quota/authorize", "ada");
  const location = new URL(begun.headers.get("location") as string);
  expect(location.searchParams.get("redirect_uri")).toBe("https://acme.example/shop/api/quota/callback");
  const [flow = ""] = begun.headers.getSetCookie();
  expect(flow).toContain("; Path=/shop/api/quota; ");
  const answer = `state=${location.searchParams.get("state")}&iss=https%3A%2F%2Fquota.example&error=access_denied`;
  const back = await visit(`/shop/api/quota/callback?${answer}`, "ada", flow.split(";")[0]);
  // The home page, because the attempt named no path.
  expect(back.headers.get("location")).toBe("https://acme.example/shop?quota_error=access_denied");
  expect(back.headers.getSetCookie()[0]).toContain("; Path=/shop/api/quota; Max-Age=0");
  expect((await visit("/shop/api/quota/callback?state=x", "ada")).headers.get("location")).toBe(
    "https://acme.example/shop?quota_error=invalid_state",
  );
  // Paths in the config get the basePath; `return_to` comes from the browser and has it already.
  expect((await visit("/shop/api/quota/authorize?return_to=/shop/chat")).headers.get("location")).toBe(
    "https://acme.example/shop/sign-in?return_to=%2Fshop%2Fchat",
  );
  // Next may have removed the basePath from the request's URL.
  expect((await visit("/api/quota/authorize", "ada")).headers.get("location")).toMatch(/^https:\/\/quota\.example\//);
  const stale = await visit("/shop/page", "ada", "external_user_id=ada.1.x");
  expect(stale.headers.getSetCookie()[0]).toContain("external_user_id=; Path=/shop; Max-Age=0");
  // A path that only begins like the basePath belongs to another app.
  expect((await visit("/shopping/api/quota/authorize", "ada")).headers.get("x-middleware-next")).toBe("1");
});
