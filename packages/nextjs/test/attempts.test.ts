import { NextRequest } from "next/server.js";
import { expect, test } from "vitest";
import { createQuotaRouteHandlers } from "../src/route-handlers.ts";

/** Attempts to connect a wallet in one browser, with browsers' rules for cookies. No request reaches Quota. */

const APP = "https://acme.example";
const config = { clientId: "quota_client_x", clientSecret: "quota_secret_y", baseUrl: "https://quota.example" };
/** Chromium and Firefox drop a cookie whose name and value are longer; this limit counts the attributes too. */
const LARGEST_COOKIE_BYTES = 4_096;

function browser(externalUserId: string | null = null) {
  const { GET } = createQuotaRouteHandlers(externalUserId === null ? config : { ...config, getExternalUserId: () => externalUserId });
  const cookies = new Map<string, string>();
  const visit = async (path: string) => {
    const cookie = [...cookies].map(([name, value]) => `${name}=${value}`).join("; ");
    const response = await GET(new NextRequest(new URL(path, APP), { headers: { cookie, host: "acme.example" } }));
    for (const line of response.headers.getSetCookie()) {
      const [, name = "", value = ""] = /^([^=]+)=([^;]*)/.exec(line) ?? [];
      // A cookie that is set again becomes the newest.
      cookies.delete(name);
      if (!/Max-Age=0/.test(line) && Buffer.byteLength(line) <= LARGEST_COOKIE_BYTES) cookies.set(name, value);
    }
    return new URL(response.headers.get("location") as string);
  };
  return {
    cookies,
    begin: async (returnTo: string) =>
      (await visit(`/api/quota/authorize?return_to=${encodeURIComponent(returnTo)}`)).searchParams.get("state") as string,
    /** The redirect after a denied consent, which needs the attempt and no code. */
    comeBack: (state: string) => visit(`/api/quota/callback?state=${state}&iss=https%3A%2F%2Fquota.example&error=access_denied`),
  };
}

test.each([
  ["a plain path", `/chat/${"a".repeat(1_500)}?q=1#here`],
  ["percent signs, which take three bytes each in a cookie that keeps them as they are", `/chat?q=${"%C3%A9".repeat(240)}#here`],
  ["quotes and braces", `/chat?filter=${'{"a":["b"]},'.repeat(60)}`],
])("an attempt that began at a long address is recognized at the callback, which returns to that address: %s", async (_, returnTo) => {
  const tab = browser("ada");
  const back = await tab.comeBack(await tab.begin(returnTo));
  expect(back.searchParams.get("quota_error")).toBe("access_denied");
  back.searchParams.delete("quota_error");
  const expected = new URL(returnTo, APP);
  expect([back.pathname, back.hash, back.searchParams.toString()]).toEqual([
    expected.pathname,
    expected.hash,
    expected.searchParams.toString(),
  ]);
});

test("an address that is too long for a cookie loses its fragment, then its query, then its path, and the attempt is kept", async () => {
  const long = "x".repeat(6_000);
  for (const [returnTo, ends] of [
    [`/chat?q=1#${long}`, "/chat?q=1&"],
    [`/chat?q=${long}#a`, "/chat?"],
    [`/${long}?q=1`, "/?"],
    [`/${"%E2%82%AC".repeat(1_000)}`, "/?"],
  ] as const) {
    for (const id of ["ada", "\u{1f98a}".repeat(127), '"'.repeat(255), null]) {
      const tab = browser(id);
      const back = await tab.comeBack(await tab.begin(returnTo));
      expect([returnTo.slice(0, 12), id, back.pathname + back.search]).toEqual([
        returnTo.slice(0, 12),
        id,
        `${ends}quota_error=access_denied`,
      ]);
    }
  }
});

test("a browser keeps at most two unfinished attempts, the newest, in less than the 8 kB that proxies take of a Cookie header", async () => {
  const tab = browser("ada");
  const states: string[] = [];
  for (let attempt = 0; attempt < 12; attempt++) {
    states.push(await tab.begin(`/chat?q=${"%C3%A9".repeat(2_000 * (attempt % 2))}&n=${attempt}`));
    expect(tab.cookies.size).toBeLessThanOrEqual(2);
  }
  expect(Buffer.byteLength([...tab.cookies].map(([name, value]) => `${name}=${value}`).join("; "))).toBeLessThan(7_000);
  const ends = [];
  for (const state of states) ends.push((await tab.comeBack(state)).searchParams.get("quota_error"));
  expect(ends).toEqual([...Array(10).fill("invalid_state"), "access_denied", "access_denied"]);
});

test("the older of two attempts is dropped, in whatever order the browser sends them", async () => {
  const tab = browser("ada");
  await tab.begin("/first");
  const [[name, value] = ["", ""]] = [...tab.cookies];
  // The same attempt, begun a minute earlier.
  const older = value.replace(/\.(\d+)\.([^.]*)$/, (_, end, mac) => `.${Number(end) - 60}.${mac}`);
  for (const order of [
    [
      ["quota_flow_older", older],
      [name, value],
    ],
    [
      [name, value],
      ["quota_flow_older", older],
    ],
  ] as [string, string][][]) {
    tab.cookies.clear();
    for (const [each, text] of order) tab.cookies.set(each, text);
    await tab.begin("/second");
    expect([tab.cookies.size, tab.cookies.has(name), tab.cookies.has("quota_flow_older")]).toEqual([2, true, false]);
  }
});
