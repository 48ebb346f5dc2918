/** Quota's mark. Hidden from screen readers, because the name is beside it. */
export function Mark({ size = 22 }: { size?: number }) {
  return (
    <svg width={size} height={size} viewBox="0 0 32 32" aria-hidden="true">
      <rect width="32" height="32" rx="8" className="fill-accent" />
      <path d="M22.2 20.1A7.5 7.5 0 1 0 20 22.3" fill="none" className="stroke-on-accent" strokeWidth="3" strokeLinecap="round" />
      <circle cx="23.2" cy="23.2" r="2.2" className="fill-on-accent" />
    </svg>
  );
}
