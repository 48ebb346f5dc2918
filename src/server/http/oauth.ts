import type { IncomingMessage, ServerResponse } from "node:http";
import { answerOAuth, type OwnAnswer, refusedBody } from "../connect/answer.ts";
import { BufferedResponse, nodeRequest } from "../connect/node-exchange.ts";
import type { SignedIn } from "../connect/sign-in.ts";
import { AppError } from "../platform/errors.ts";
import { withBody } from "./body-limit.ts";
import { announcesBody, fromNode, fromRequest, sendNode, toResponse } from "./exchange.ts";

/**
 * The authorization server's two mounts. Our own server gives oidc-provider, a Koa application,
 * the socket's request and response (`serveOAuth`). The routes of src/app (`oauthRoute`) are for plain
 * `next start` and for paths in a spelling that Next normalizes; they buffer request and answer.
 */

/** Who is signed in in the browser that sends these cookies. */
export type WhoIsSignedIn = (cookieHeader: string) => Promise<SignedIn | null>;

const LARGEST_BODY_BYTES = 64 * 1024;

const MOUNTED = /^\/(?:oauth(?:\/[\w-]+)+|\.well-known\/(?:jwks\.json|openid-configuration|oauth-authorization-server))(?:\?|$)/;

/**
 * Whether a request target is of the authorization server. Paths with a doubled or closing slash, dot
 * segments or percent-encoding are not: Next redirects them to the plain path, or gives them to src/app.
 */
export function isOAuth(target: string): boolean {
  return MOUNTED.test(target);
}

/**
 * Answers a request of the socket. `x-forwarded-for` holds the one address to believe (`trustAddress`).
 * `bodyIdleMs`: a body of which nothing arrives for so long is refused with 408.
 */
export async function serveOAuth(
  incoming: IncomingMessage,
  outgoing: ServerResponse,
  from: { signedIn: WhoIsSignedIn; bodyIdleMs: number },
): Promise<void> {
  const answer = await answerOAuth(incoming, outgoing, {
    address: addressIn(incoming.headers["x-forwarded-for"]),
    person: () => from.signedIn(incoming.headers.cookie ?? ""),
    withBody: () => bounded(incoming, outgoing, from.bodyIdleMs),
  });
  if (answer !== null) await sendNode(answer, incoming, outgoing);
}

/** A route handler of Next. */
export function oauthRoute(signedIn: WhoIsSignedIn): (request: Request) => Promise<Response> {
  return async (request) => {
    const head = nodeRequest(request, null);
    const outgoing = new BufferedResponse(head);
    const answer = await answerOAuth(head, outgoing, {
      address: addressIn(request.headers.get("x-forwarded-for") ?? undefined),
      person: () => signedIn(request.headers.get("cookie") ?? ""),
      async withBody() {
        if (request.method !== "POST") return head;
        const body = await fromRequest(request).read(LARGEST_BODY_BYTES);
        return body === "too_large" ? tooLarge() : nodeRequest(request, Buffer.from(body));
      },
    });
    return answer === null ? outgoing.toResponse(request.method) : toResponse(answer);
  };
}

async function bounded(incoming: IncomingMessage, outgoing: ServerResponse, bodyIdleMs: number): Promise<IncomingMessage | OwnAnswer> {
  if (!announcesBody(incoming)) return incoming;
  try {
    const body = await fromNode(incoming, outgoing, { bodyIdleMs }).read(LARGEST_BODY_BYTES);
    return body === "too_large" ? tooLarge() : withBody(incoming, body);
  } catch (error) {
    // A client that left hears neither.
    if (!(error instanceof AppError)) throw error;
    return refusedBody(408, "The rest of the request did not arrive in time.");
  }
}

function tooLarge(): OwnAnswer {
  return refusedBody(413, `The request body is larger than ${LARGEST_BODY_BYTES} bytes.`);
}

function addressIn(forwarded: string | string[] | undefined): string {
  const [first = ""] = [forwarded ?? []].flat();
  return first.split(",")[0]?.trim() || "unknown";
}
