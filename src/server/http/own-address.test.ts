import type { IncomingHttpHeaders } from "node:http";
import { describe, expect, test } from "vitest";
import { redirectToOwn } from "./own-address.ts";

const configured = { origin: "https://quota.example.com", configured: true };
const assumed = { origin: "http://localhost:3000", configured: false };
const get = (url: string, headers: IncomingHttpHeaders, own = configured, method = "GET") => {
  const redirect = redirectToOwn({ method, url, headers }, own);
  return redirect === null || redirect === "loop" ? redirect : redirect.location;
};

describe("a request on another host than QUOTA_URL", () => {
  test.each([
    "/oauth/authorize?client_id=a&state=b%20c",
    "/oauth/authorize/an-id",
    "/connect/an-id?again=1",
    "/sign-in?callbackUrl=/wallet",
    "/sign-up",
    "/forgot-password",
    "/reset-password?token=t",
  ])("is redirected there with its path and query when it starts a journey with cookies: %s", (url) => {
    for (const host of ["127.0.0.1:3000", "old.example.com", "quota.example.com:8443", "quota.example.com.", "[::1]"])
      expect([host, get(url, { host })]).toEqual([host, `https://quota.example.com${url}`]);
    expect(get(url, { host: "old.example.com" }, configured, "HEAD")).toBe(`https://quota.example.com${url}`);
  });

  test.each([
    "/",
    "/wallet",
    "/docs/quickstart",
    "/oauth/token",
    "/oauth/userinfo",
    "/oauth/authorized",
    "/connected",
    "/.well-known/openid-configuration",
    "/api/auth/session",
    "/_next/static/x.js",
    "/sign-in.js",
  ])("is not redirected when its path sets no cookies of a journey: %s", (url) => {
    expect(get(url, { host: "quota:3000" })).toBeNull();
  });

  test("is not redirected when it may have a body, which a redirect could lose", () => {
    for (const method of ["POST", "PUT", "OPTIONS", "DELETE"])
      expect(get("/oauth/authorize", { host: "old.example" }, configured, method)).toBeNull();
  });
});

test.each([
  [{ host: "quota.example.com" }],
  [{ host: "QUOTA.example.com" }],
  [{ host: "quota.example.com:443" }],
  [{ host: "quota:3000", "x-forwarded-host": "quota.example.com" }],
  [{ host: "quota:3000", "x-forwarded-host": "edge.example, quota.example.com" }],
  [{ host: "quota:3000", forwarded: 'for=192.0.2.1;host="quota.example.com";proto=https' }],
  [{}],
  [{ host: "no host at all" }],
])("a request for the own host, in Host or in a header of a proxy, is not redirected: %j", (headers) => {
  expect(get("/sign-in", headers)).toBeNull();
});

test("no header and no path redirects to an origin other than the own", () => {
  const urls = [
    "/connect//evil.example/",
    "/connect/..//evil.example",
    "/connect/\\evil.example",
    "/sign-in?callbackUrl=//evil.example",
    "/sign-in?a=\u00ff",
  ];
  for (const url of urls) {
    for (const host of ["evil.example", "evil.example:80", "quota.example.com.evil.example", "quota.example.com@evil.example"]) {
      const location = get(url, { host, "x-forwarded-host": "evil.example", forwarded: "host=evil.example" });
      expect([url, host, new URL(location as string).origin]).toEqual([url, host, configured.origin]);
    }
  }
});

test("a redirected request that comes back with another Host is served, so that a proxy that replaces Host causes no loop", () => {
  const asked = { method: "GET", url: "/sign-in?callbackUrl=/a", headers: { host: "quota:3000" } };
  const redirect = redirectToOwn(asked, configured) as { cookie: string };
  expect(redirect.cookie).toMatch(/^quota_moved=\S{22}; Path=\/; Max-Age=5; HttpOnly; SameSite=Lax$/);
  const cookie = `a=b; ${redirect.cookie.split(";")[0]}`;
  expect(redirectToOwn({ ...asked, headers: { ...asked.headers, cookie } }, configured)).toBe("loop");
  // The mark is of one URL: a request for another is redirected.
  expect(redirectToOwn({ ...asked, url: "/sign-in?callbackUrl=/b", headers: { ...asked.headers, cookie } }, configured)).toMatchObject({
    location: "https://quota.example.com/sign-in?callbackUrl=/b",
  });
});

test("without QUOTA_URL only a loopback address with the same port is redirected to localhost, and only to connect a wallet", () => {
  expect(get("/oauth/authorize?a=1", { host: "127.0.0.1:3000" }, assumed)).toBe("http://localhost:3000/oauth/authorize?a=1");
  expect(get("/connect/x", { host: "[::1]:3000" }, assumed)).toBe("http://localhost:3000/connect/x");
  for (const host of ["127.0.0.1:8080", "192.168.0.7:3000", "quota.example.com", "localhost:8080"])
    expect([host, get("/oauth/authorize", { host }, assumed)]).toEqual([host, null]);
  expect(get("/sign-in", { host: "127.0.0.1:3000" }, assumed)).toBeNull();
});
