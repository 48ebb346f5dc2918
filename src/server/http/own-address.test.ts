import type { IncomingHttpHeaders } from "node:http";
import { describe, expect, test } from "vitest";
import { moveTo } from "./own-address.ts";

const told = { origin: "https://quota.example.com", told: true };
const guessed = { origin: "http://localhost:3000", told: false };
const get = (url: string, headers: IncomingHttpHeaders, own = told, method = "GET") => {
  const move = moveTo({ method, url, headers }, own);
  return move === null || move === "loop" ? move : move.location;
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
  ])("goes there with its path and query before anything begins: %s", (url) => {
    for (const host of ["127.0.0.1:3000", "old.example.com", "quota.example.com:8443", "quota.example.com.", "[::1]"])
      expect([host, get(url, { host })]).toEqual([host, `https://quota.example.com${url}`]);
    expect(get(url, { host: "old.example.com" }, told, "HEAD")).toBe(`https://quota.example.com${url}`);
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
  ])("stays when no cookie of a person's begins there: %s", (url) => {
    expect(get(url, { host: "quota:3000" })).toBeNull();
  });

  test("stays when it is sent, because a form would be lost on the way", () => {
    for (const method of ["POST", "PUT", "OPTIONS", "DELETE"])
      expect(get("/oauth/authorize", { host: "old.example" }, told, method)).toBeNull();
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
])("who asked for the own host, told by a proxy or not, stays: %j", (headers) => {
  expect(get("/sign-in", headers)).toBeNull();
});

test("no header and no path leads anywhere but to the own address", () => {
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
      expect([url, host, new URL(location as string).origin]).toEqual([url, host, told.origin]);
    }
  }
});

test("a request that comes back from where it was sent is served, so that a proxy with a host of its own makes no loop", () => {
  const asked = { method: "GET", url: "/sign-in?callbackUrl=/a", headers: { host: "quota:3000" } };
  const move = moveTo(asked, told) as { cookie: string };
  expect(move.cookie).toMatch(/^quota_moved=\S{22}; Path=\/; Max-Age=5; HttpOnly; SameSite=Lax$/);
  const cookie = `a=b; ${move.cookie.split(";")[0]}`;
  expect(moveTo({ ...asked, headers: { ...asked.headers, cookie } }, told)).toBe("loop");
  // Another request within that time begins as the first one did.
  expect(moveTo({ ...asked, url: "/sign-in?callbackUrl=/b", headers: { ...asked.headers, cookie } }, told)).toMatchObject({
    location: "https://quota.example.com/sign-in?callbackUrl=/b",
  });
});

test("without QUOTA_URL only another name of this very port goes to localhost, and only to connect a wallet", () => {
  expect(get("/oauth/authorize?a=1", { host: "127.0.0.1:3000" }, guessed)).toBe("http://localhost:3000/oauth/authorize?a=1");
  expect(get("/connect/x", { host: "[::1]:3000" }, guessed)).toBe("http://localhost:3000/connect/x");
  for (const host of ["127.0.0.1:8080", "192.168.0.7:3000", "quota.example.com", "localhost:8080"])
    expect([host, get("/oauth/authorize", { host }, guessed)]).toEqual([host, null]);
  expect(get("/sign-in", { host: "127.0.0.1:3000" }, guessed)).toBeNull();
});
