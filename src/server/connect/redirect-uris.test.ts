import { describe, expect, test, vi } from "vitest";
import { Provider } from "./oidc.ts";
import { redirectUriProblem } from "./redirect-uris.ts";

describe("a redirect URI", () => {
  test.each([
    "https://acme.chat/callback",
    "https://acme.chat",
    "https://acme.chat:8443/callback?from=quota",
    "https://ACME.chat/Callback",
    "http://localhost/callback",
    "http://localhost:4000/callback",
    "http://127.0.0.1:4000/callback",
    "https://[::1]:8443/callback",
    "https://b\u00fccher.example/r\u00fcckweg",
    "https://acme.chat./callback",
  ])("%s is accepted, here and by the authorization server's library", (uri) => {
    expect(redirectUriProblem(uri)).toBeNull();
    vi.spyOn(console, "info").mockImplementation(() => {});
    vi.spyOn(console, "warn").mockImplementation(() => {});
    const provider = new Provider("http://localhost:3000", {
      responseTypes: ["code"],
      clients: [{ client_id: "app", token_endpoint_auth_method: "none", redirect_uris: [uri] }],
    });
    return expect(provider.Client.find("app").then((client) => client?.redirectUris)).resolves.toEqual([uri]);
  });

  test.each([
    ["plain http on a host that others can listen to", "http://acme.chat/callback"],
    ["http on a host that only begins like localhost", "http://localhost.evil.example/callback"],
    ["http on a private address", "http://192.168.0.10/callback"],
    ["a fragment", "https://acme.chat/callback#token"],
    ["an empty fragment", "https://acme.chat/callback#"],
    ["a user name", "https://acme@evil.example/callback"],
    ["http on the IPv6 loopback address, which the consent page's policy can't name", "http://[::1]:4000/callback"],
    ["http on localhost written with a dot at the end", "http://localhost.:4000/callback"],
    ["a wildcard in the host", "https://*.acme.chat/callback"],
    ["an empty label in the host", "https://acme..chat/callback"],
    ["a port that browsers block", "http://localhost:6000/callback"],
    ["port 0", "http://localhost:0/callback"],
    ["a character that turns the writing direction", "https://acme.chat/\u202ekcabllac"],
    ["more than fits once it is percent-encoded", `https://acme.chat/${"\u00e9".repeat(400)}`],
    ["another scheme", "javascript:alert(1)"],
    ["an app's own scheme", "acme://callback"],
    ["an app's own scheme in reverse-domain form", "com.acme.app:/callback"],
    ["a relative address", "/callback"],
    ["an address without its slashes", "https:acme.chat/callback"],
    ["a space", "https://acme.chat/call back"],
    ["a control character", "https://acme.chat/\u0000callback"],
    ["more than fits", `https://acme.chat/${"a".repeat(2000)}`],
  ])("%s is refused", (_, uri) => {
    expect(redirectUriProblem(uri)).not.toBeNull();
  });
});
