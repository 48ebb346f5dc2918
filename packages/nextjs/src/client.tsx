"use client";

import type { CreditPackage } from "@usequota/core";
import { createContext, type ReactNode, useCallback, useContext, useEffect, useId, useMemo, useRef, useState } from "react";
import { browserPath } from "./base-path.ts";
import type { QuotaUser } from "./config.ts";
import type { QuotaStatus } from "./endpoints.ts";
import { formatCredits, formatCreditsExactly } from "./money.ts";

export { formatCredits, formatCreditsExactly };

/** Why a request could not be paid: the wallet is empty, or the user's own limit for this app is used up. */
export type QuotaShortage = "insufficient_credits" | "spending_limit_reached";

/** An error, with a sentence for the user. */
export interface QuotaProblem {
  code: string;
  message: string;
}

/** A credit package on sale. */
export type QuotaPackage = CreditPackage;

/** The outcome of buying credits; `processing` until the payment has succeeded, which some payment methods delay. */
export type QuotaPurchase = "paid" | "processing" | "cancelled";

/** What `useQuota` returns. */
export interface QuotaState {
  /** `loading` until the first answer; `error` when it failed. */
  status: "loading" | "disconnected" | "connected" | "error";
  /** The user and their wallet; null unless connected. */
  user: QuotaUser | null;
  /** false when the visitor is not signed in to the app itself. */
  signedIn: boolean;
  /** The last error, also of a return from Quota; null without one. */
  problem: QuotaProblem | null;
  /** Why the last request could not be paid; null when it was. */
  shortage: QuotaShortage | null;
  /** The outcome of buying credits, after a return from the checkout; else null. */
  purchase: QuotaPurchase | null;
  /** The address of the user's wallet at Quota; null until the first answer. */
  walletUrl: string | null;
  /** Reads the wallet again, such as after a billed request. */
  refresh(): Promise<void>;
  /** Leads to Quota to connect a wallet, and back to `returnTo`, by default to this page. */
  connect(returnTo?: string): void;
  /** Ends the link, in all browsers. */
  disconnect(): Promise<void>;
  /** Deletes the user's cookie in this browser; the link stays. */
  logout(): Promise<void>;
  /** The packages on sale. */
  packages(): Promise<QuotaPackage[]>;
  /** Leads to the checkout of a package, and back to `returnTo`, by default to this page. */
  buy(packageId: string, returnTo?: string): Promise<void>;
  /** Passes the error code of one of your requests to the components, which then show what to do. Codes that are not about money change nothing; null stands for success. */
  report(code: string | null): void;
  /** Shows a balance from an answer's `quota.balance_after`, without a request. */
  setBalance(credits: number): void;
}

const Context = createContext<QuotaState | null>(null);

/** Props of `QuotaProvider`. */
export interface QuotaProviderProps {
  children: ReactNode;
  /** The path of the endpoints in your app, without Next's own `basePath`. The default is `/api/quota`. */
  basePath?: string;
  /** The result of `getQuotaUser()` on the server, so that the first render is complete. null: no wallet is connected. */
  initialUser?: QuotaUser | null;
}

const PAYMENT_EVERY_MS = 3_000;

const PROBLEMS: Record<string, string> = {
  access_denied: "You did not connect your wallet. Nothing was shared.",
  invalid_state: "This attempt is over, or began in another browser. Try again.",
  user_changed: "You signed in as somebody else on the way. Try again.",
  temporarily_unavailable: "Quota cannot be reached. Try again in a moment.",
};

/** Reads whether a wallet is connected and provides it to `useQuota` and the components within. */
export function QuotaProvider({ children, basePath = "/api/quota", initialUser }: QuotaProviderProps): ReactNode {
  const endpoints = browserPath(basePath);
  const [status, setStatus] = useState<QuotaState["status"]>(
    initialUser === undefined ? "loading" : initialUser ? "connected" : "disconnected",
  );
  const [user, setUser] = useState<QuotaUser | null>(initialUser ?? null);
  const [signedIn, setSignedIn] = useState(true);
  const [walletUrl, setWalletUrl] = useState<string | null>(null);
  const [problem, setProblem] = useState<QuotaProblem | null>(null);
  const [shortage, setShortage] = useState<QuotaShortage | null>(null);
  const [purchase, setPurchase] = useState<QuotaPurchase | null>(null);
  const asked = useRef(0);

  const refresh = useCallback(async () => {
    const turn = ++asked.current;
    try {
      const answer = await request<QuotaStatus>(`${endpoints}/status`);
      // A later request has been sent, and its answer counts.
      if (turn !== asked.current) return;
      setUser(answer.user);
      setSignedIn(answer.signedIn);
      setWalletUrl(answer.walletUrl);
      setStatus(answer.connected ? "connected" : "disconnected");
      setProblem((before) => (before?.code === "status" ? null : before));
    } catch (error) {
      if (turn !== asked.current) return;
      setStatus((before) => (before === "loading" ? "error" : before));
      setProblem({ code: "status", message: problemOf(error).message });
    }
  }, [endpoints]);

  useEffect(() => {
    const url = new URL(window.location.href);
    const code = url.searchParams.get("quota_error");
    if (code !== null) {
      setProblem({ code, message: PROBLEMS[code] ?? "The wallet could not be connected. Try again." });
    }
    const ended = url.searchParams.get("quota_checkout");
    if (ended === "paid" || ended === "processing" || ended === "cancelled") setPurchase(ended);
    if (code !== null || ended !== null) {
      url.searchParams.delete("quota_error");
      url.searchParams.delete("quota_checkout");
      window.history.replaceState(window.history.state, "", url);
    }
    void refresh();
    // The user may have topped up or disconnected in another tab.
    const back = () => {
      if (document.visibilityState === "visible") void refresh();
    };
    document.addEventListener("visibilitychange", back);
    return () => document.removeEventListener("visibilitychange", back);
  }, [refresh]);

  // While a payment is processed, the wallet is polled; a grown balance means that the payment succeeded.
  const balance = user?.balance;
  const balanceBefore = useRef<number | undefined>(undefined);
  useEffect(() => {
    if (purchase !== "processing" || balance === undefined) return;
    balanceBefore.current ??= balance;
    if (balance > balanceBefore.current) return setPurchase("paid");
    const timer = setInterval(() => void refresh(), PAYMENT_EVERY_MS);
    return () => clearInterval(timer);
  }, [purchase, balance, refresh]);

  const leave = useCallback(
    async (endpoint: "disconnect" | "logout") => {
      setProblem(null);
      try {
        await request(`${endpoints}/${endpoint}`, {});
        asked.current++;
        setUser(null);
        setShortage(null);
        setStatus("disconnected");
      } catch (error) {
        setProblem(problemOf(error));
      }
    },
    [endpoints],
  );

  const state = useMemo<QuotaState>(
    () => ({
      status,
      user,
      signedIn,
      problem,
      shortage,
      purchase,
      walletUrl,
      refresh,
      connect(returnTo) {
        window.location.assign(
          `${endpoints}/authorize?return_to=${encodeURIComponent(returnTo === undefined ? here() : browserPath(returnTo))}`,
        );
      },
      disconnect: () => leave("disconnect"),
      logout: () => leave("logout"),
      packages: async () => (await request<{ packages: QuotaPackage[] }>(`${endpoints}/packages`)).packages,
      async buy(packageId, returnTo) {
        const { url } = await request<{ url: string }>(`${endpoints}/checkout`, {
          package_id: packageId,
          return_to: returnTo === undefined ? here() : browserPath(returnTo),
        });
        if (!/^https?:$/.test(new URL(url).protocol)) throw new Error("This is no address of a page.");
        window.location.assign(url);
      },
      report(code) {
        if (code === null) setShortage(null);
        else if (code === "insufficient_credits" || code === "spending_limit_reached") setShortage(code);
        else if (code === "not_found" || code === "not_connected") void refresh();
      },
      setBalance(credits) {
        asked.current++;
        setUser((before) => before && { ...before, balance: credits });
      },
    }),
    [status, user, signedIn, problem, shortage, purchase, walletUrl, refresh, leave, endpoints],
  );
  return <Context.Provider value={state}>{children}</Context.Provider>;
}

/** The user's wallet and the functions on it. Throws outside of `QuotaProvider`. */
export function useQuota(): QuotaState {
  const state = useContext(Context);
  if (state === null) throw new Error("useQuota works within <QuotaProvider>.");
  return state;
}

/** Props of `QuotaConnectButton`. */
export interface QuotaConnectButtonProps {
  className?: string;
  /** The button's label. The default is "Connect Wallet". */
  children?: ReactNode;
  /** Where the browser goes afterwards, a path of your app as in `<Link>`. The default is this page. */
  returnTo?: string;
}

/** A button that connects a wallet. With a connected one it shows the user's email and a button that disconnects after one confirmation. */
export function QuotaConnectButton({ className, children = "Connect Wallet", returnTo }: QuotaConnectButtonProps): ReactNode {
  const quota = useQuota();
  const [leaving, setLeaving] = useState<"no" | "asking" | "now">("no");
  const [going, setGoing] = useState(false);
  const asking = useRef<HTMLButtonElement>(null);
  const disconnect = useRef<HTMLButtonElement>(null);
  const asked = leaving !== "no";
  const wasAsked = useRef(false);

  // The focused button was removed; the button in its place gets the focus.
  useEffect(() => {
    if (asked) asking.current?.focus();
    else if (wasAsked.current) disconnect.current?.focus();
    wasAsked.current = asked;
  }, [asked]);
  useEffect(() => {
    // The page may come from the back/forward cache, with its state from before leaving.
    const back = () => setGoing(false);
    window.addEventListener("pageshow", back);
    return () => window.removeEventListener("pageshow", back);
  }, []);

  if (quota.status === "connected" && quota.user) {
    return (
      <div className={classes("quota-connect", className)} data-quota-state="connected">
        {asked ? (
          // biome-ignore lint/a11y/useSemanticElements: a fieldset would add a frame and a legend
          <span role="group" aria-label="Disconnect your wallet?" className="quota-connect-ask">
            <span className="quota-text" aria-hidden="true">
              Disconnect?
            </span>
            <button
              ref={asking}
              type="button"
              className="quota-button quota-button-danger"
              aria-disabled={leaving === "now"}
              onClick={async () => {
                if (leaving === "now") return;
                setLeaving("now");
                await quota.disconnect();
                setLeaving("no");
              }}
            >
              {leaving === "now" ? "Disconnecting…" : "Yes, disconnect"}
            </button>
            <button type="button" className="quota-button" onClick={() => setLeaving("no")}>
              Keep
            </button>
          </span>
        ) : (
          <>
            <span className="quota-text quota-connect-who" title={quota.user.email}>
              {quota.user.email}
            </span>
            <button ref={disconnect} type="button" className="quota-button" onClick={() => setLeaving("asking")}>
              Disconnect
            </button>
          </>
        )}
        <Problem />
      </div>
    );
  }
  const busy = quota.status === "loading" || going;
  return (
    <div className={classes("quota-connect", className)} data-quota-state={quota.status}>
      <button
        type="button"
        className="quota-button quota-button-primary"
        aria-disabled={busy}
        aria-busy={busy}
        onClick={() => {
          if (busy) return;
          setGoing(true);
          quota.connect(returnTo);
        }}
      >
        {going ? "Opening your wallet…" : children}
      </button>
      <Problem />
    </div>
  );
}

function Problem(): ReactNode {
  const { problem, refresh } = useQuota();
  return (
    <span role="alert" className="quota-problem">
      {problem?.message}
      {problem?.code === "status" && (
        <button type="button" className="quota-link" onClick={() => void refresh()}>
          Try again
        </button>
      )}
    </span>
  );
}

/** Props of `QuotaBalance`. */
export interface QuotaBalanceProps {
  className?: string;
  /** Below this many credits the balance is marked as low. The default is 100,000, ten cents. */
  lowCredits?: number;
  /** Shows all digits, `$8.399954`, instead of whole cents. */
  exact?: boolean;
}

/** The balance in dollars, exact on hover; with a monthly limit, also how much of it is spent. Renders nothing while no wallet is connected. */
export function QuotaBalance({ className, lowCredits = 100_000, exact = false }: QuotaBalanceProps): ReactNode {
  const { status, user, shortage } = useQuota();
  if (status === "loading")
    return (
      <span className={classes("quota-balance", className)} data-quota-state="loading">
        <span className="quota-hidden">Loading your balance</span>
      </span>
    );
  if (status === "error")
    return <span className={classes("quota-balance", className)} data-quota-state="error" title="Your balance is not known right now" />;
  if (!user) return null;
  const state =
    shortage === "spending_limit_reached"
      ? "limited"
      : shortage !== null || user.balance === 0
        ? "empty"
        : user.balance < lowCredits
          ? "low"
          : "ok";
  return (
    <span className={classes("quota-balance", className)} data-quota-state={state}>
      <span className="quota-hidden">Wallet balance: </span>
      <span className="quota-amount" title={`Exactly ${formatCreditsExactly(user.balance)}`}>
        {exact ? formatCreditsExactly(user.balance) : formatCredits(user.balance)}
      </span>
      {user.limit !== undefined && (
        <span className="quota-limit" title={`Exactly ${formatCreditsExactly(user.spent ?? 0)} of ${formatCreditsExactly(user.limit)}`}>
          {" "}
          {formatCredits(user.spent ?? 0)} of {formatCredits(user.limit)} this month
        </span>
      )}
    </span>
  );
}

/** Props of `QuotaBuyCredits`. */
export interface QuotaBuyCreditsProps {
  className?: string;
  /** Where the browser goes after buying, a path of your app as in `<Link>`. The default is this page. */
  returnTo?: string;
}

/**
 * Offers packages to buy; when the user's own limit for this app is used up, a link to the wallet
 * where it can be raised. Renders nothing while no wallet is connected.
 */
export function QuotaBuyCredits({ className, returnTo }: QuotaBuyCreditsProps): ReactNode {
  const quota = useQuota();
  const { status, shortage, walletUrl } = quota;
  const [offer, setOffer] = useState<QuotaPackage[] | "loading" | "failed">("loading");
  const [buying, setBuying] = useState<string | null>(null);
  const [problem, setProblem] = useState<string | null>(null);
  const title = useId();
  const connected = status === "connected";
  const sells = connected && shortage !== "spending_limit_reached";
  const loadPackages = quota.packages;

  const load = useCallback(async () => {
    setOffer("loading");
    setOffer(await loadPackages().catch(() => "failed" as const));
  }, [loadPackages]);
  // `packages` is a new function after each change of the balance; the offer is loaded once.
  const loaded = useRef(false);
  useEffect(() => {
    if (!sells || loaded.current) return;
    loaded.current = true;
    void load();
  }, [sells, load]);
  useEffect(() => {
    const back = () => setBuying(null);
    window.addEventListener("pageshow", back);
    return () => window.removeEventListener("pageshow", back);
  }, []);

  if (!connected) return null;
  const wallet = walletUrl !== null && (
    <a className="quota-link" href={walletUrl} target="_blank" rel="noopener">
      Open your wallet<span className="quota-hidden"> (in a new tab)</span>
    </a>
  );
  return (
    <section className={classes("quota-buy", className)} aria-labelledby={title} data-quota-state={shortage ?? "ok"}>
      <h2 id={title} className="quota-buy-title">
        {shortage === "spending_limit_reached"
          ? "You reached your monthly limit for this app"
          : shortage === "insufficient_credits"
            ? "Your wallet is out of credits"
            : "Add credits"}
      </h2>
      {shortage === "spending_limit_reached" ? (
        <p className="quota-text">You set it yourself. You can raise it in your wallet, under Connected apps. {wallet}</p>
      ) : offer === "loading" ? (
        <p className="quota-text" role="status">
          Loading packages…
        </p>
      ) : offer === "failed" ? (
        <p className="quota-text" role="alert">
          The packages could not be loaded.{" "}
          <button type="button" className="quota-link" onClick={() => void load()}>
            Try again
          </button>{" "}
          {wallet}
        </p>
      ) : offer.length === 0 ? (
        <p className="quota-text">Nothing is on sale right now. {wallet}</p>
      ) : (
        <div className="quota-packages">
          {offer.map(({ id, credits }) => (
            <button
              key={id}
              type="button"
              className="quota-button"
              aria-disabled={buying !== null}
              aria-busy={buying === id}
              onClick={async () => {
                if (buying !== null) return;
                setBuying(id);
                setProblem(null);
                try {
                  await quota.buy(id, returnTo);
                } catch (error) {
                  setBuying(null);
                  setProblem(problemOf(error).message);
                }
              }}
            >
              {buying === id ? "Opening…" : `Add ${formatCredits(credits)}`}
            </button>
          ))}
        </div>
      )}
      <span role="status" className="quota-text">
        {quota.purchase === "processing" && "Your payment is under way. Your credits are here as soon as it arrives."}
        {quota.purchase === "paid" && shortage === null && "Thank you, your credits are here."}
        {quota.purchase === "cancelled" && "Nothing was bought."}
      </span>
      <span role="alert" className="quota-problem">
        {problem}
      </span>
    </section>
  );
}

class RequestError extends Error {
  readonly code: string;
  constructor(code: string, message: string) {
    super(message);
    this.code = code;
  }
}

/** One request to the app's endpoints; POST with a body, else GET. */
async function request<T>(url: string, body?: object): Promise<T> {
  const response = await fetch(url, {
    method: body === undefined ? "GET" : "POST",
    cache: "no-store",
    ...(body === undefined ? {} : { headers: { "content-type": "application/json" }, body: JSON.stringify(body) }),
  });
  const answer = (await response.json().catch(() => null)) as (T & { error?: { code: string; message: string } }) | null;
  if (!response.ok || answer === null) {
    throw new RequestError(answer?.error?.code ?? "unknown", answer?.error?.message ?? "That did not work. Try again in a moment.");
  }
  return answer;
}

function problemOf(error: unknown): QuotaProblem {
  if (error instanceof RequestError) return { code: error.code, message: error.message };
  return { code: "unreachable", message: "There is no connection. Try again in a moment." };
}

function here(): string {
  return window.location.pathname + window.location.search;
}

function classes(own: string, given: string | undefined): string {
  return given === undefined ? own : `${own} ${given}`;
}
