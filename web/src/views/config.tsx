export function ConfigView() { return <p />; }
