-- What the operations share. Each of them is a function of (k, n, a): its first key is KEYS[k], it
-- is about n lock keys, its first argument is ARGV[a].
local ops = {}

-- The number that a stored counter is, or nil; doubles are exact up to MAX_TOKEN.
local function is_token(stored)
  local number = type(stored) == 'string' and string.match(stored, '^%d+$') and tonumber(stored)
  return number and number <= MAX_TOKEN and number or nil
end

-- Whether each of n keys holds the value.
local function holds(k, n, value)
  for i = k, k + n - 1 do
    if redis.call('GET', KEYS[i]) ~= value then
      return false
    end
  end
  return true
end

