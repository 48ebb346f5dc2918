import { describe, expect, test } from "vitest";
import { callbackPath } from "./callback-path.ts";

const own = "http://localhost:3000";
const go = (callbackUrl: unknown) => callbackPath(callbackUrl, own, "/wallet");

describe("after signing in", () => {
  test.each([
    ["/dashboard", "/dashboard"],
    ["/dashboard/1/usage?model=gpt-4o#top", "/dashboard/1/usage?model=gpt-4o#top"],
    ["http://localhost:3000/dashboard", "/dashboard"],
  ])("signing in returns to %s on this server", (callbackUrl, path) => {
    expect(go(callbackUrl)).toBe(path);
  });

  test.each([
    "https://evil.example/",
    "//evil.example/",
    "/\\evil.example/",
    "\\\\evil.example",
    "http://localhost:3000//evil.example/",
    "/.//evil.example/",
    "http://localhost:3001/",
    "http://localhost:3000@evil.example/",
    "javascript:alert(1)",
    "data:text/html,x",
    "\t//evil.example",
    "http://",
    "",
    undefined,
    ["/dashboard"],
  ])("%j does not lead away from this server", (callbackUrl) => {
    expect(go(callbackUrl)).toBe("/wallet");
  });
});
