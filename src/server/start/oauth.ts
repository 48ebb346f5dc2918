import type { IncomingMessage, ServerResponse } from "node:http";
import { serveOAuth } from "../http/oauth.ts";
import { connectHeaders, pageHeaders } from "../http/page-headers.ts";
import { signedInBy } from "../people/signed-in.ts";
import { redirectedToOwnAddress } from "./own-address.ts";

const METADATA_HEADERS = Object.entries(pageHeaders());
const OAUTH_HEADERS = Object.entries(connectHeaders());

/** Answers a request for the authorization server, with the headers that Next sets on the same paths. The caller has run `trustAddress`. */
export async function answerOAuth(incoming: IncomingMessage, outgoing: ServerResponse, limits: { bodyIdleMs: number }): Promise<void> {
  if (await redirectedToOwnAddress(incoming, outgoing)) return;
  const headers = incoming.url?.startsWith("/oauth/") ? OAUTH_HEADERS : METADATA_HEADERS;
  for (const [name, value] of headers) outgoing.setHeader(name, value);
  await serveOAuth(incoming, outgoing, { signedIn: signedInBy, bodyIdleMs: limits.bodyIdleMs });
}
