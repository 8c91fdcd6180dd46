/** An effect that asks the server: at once, where `useEffect` waits until what is there already has been drawn. */
export { useLayoutEffect as useAsking } from "preact/hooks";
