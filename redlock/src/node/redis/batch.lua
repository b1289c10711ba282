-- Carries out operations one after another; one that fails does not stop those behind it.
-- For each of them ARGV holds its name, how many lock keys it is about, and its arguments.
-- Answers one reply each. An error is a list of one text; no other reply is a list of one.
local keys = { acquire = 2, raise = 2, extend = 2, heal = 2, release = 1, inspect = 1, info = 0 }
local arguments = { acquire = 4, raise = 2, extend = 3, heal = 3, release = 1, inspect = 0, info = 0 }
local replies, k, a = {}, 1, 1
while ARGV[a] do
  local name, n = ARGV[a], tonumber(ARGV[a + 1])
  local done, reply = pcall(ops[name], k, n, a + 2)
  if not done then
    reply = { type(reply) == 'table' and reply.err or tostring(reply) }
  end
  replies[#replies + 1] = reply
  k, a = k + n * keys[name], a + 2 + arguments[name]
end
return replies
